# Receives the bridge's callbacks with Sinatra.
#
#   gem install sinatra puma rackup sqlite3
#   SIGNING_SECRET=whsec_… ruby receiver.rb

require "json"
require "openssl"
require "sinatra"
require "sqlite3"

set :port, ENV.fetch("PORT", "9000")
set :bind, "127.0.0.1"

KEY = ENV.fetch("SIGNING_SECRET").delete_prefix("whsec_").unpack1("m")
abort "SIGNING_SECRET is no signing secret" if KEY.empty?

# The received events, each stored once. In your app: a table of your own database.
def open_inbox
  inbox = SQLite3::Database.new("inbox.db")
  inbox.busy_timeout = 10_000
  inbox.execute("CREATE TABLE IF NOT EXISTS events (webhook_id TEXT PRIMARY KEY, body TEXT, done INTEGER DEFAULT 0)")
  inbox
end

# Standard Webhooks, with Ruby's own HMAC; the gem standardwebhooks does the same.
def genuine?(id, timestamp, signatures, body)
  return false if id.empty? || (Time.now.to_i - Integer(timestamp, 10)).abs > 300 # too old: perhaps a replay

  expected = "v1," + [OpenSSL::HMAC.digest("sha256", KEY, "#{id}.#{timestamp}.#{body}")].pack("m0")
  signatures.split.any? { |signature| Rack::Utils.secure_compare(signature, expected) }
rescue ArgumentError
  false
end

post "/hooks/hubspot" do
  body = request.body.read # the raw bytes
  id, timestamp, signatures = %w[ID TIMESTAMP SIGNATURE].map do |name|
    request.get_header("HTTP_WEBHOOK_#{name}").to_s.dup.force_encoding("UTF-8") # or SQLite would store bytes
  end
  halt 400 unless genuine?(id, timestamp, signatures, body)
  # A callback may come twice, with the same id: the second one changes nothing.
  inbox = open_inbox
  inbox.execute("INSERT OR IGNORE INTO events (webhook_id, body) VALUES (?, ?)", [id, body.force_encoding("UTF-8")])
  inbox.close
  204
end

# Your work. It may be slow.
def handle(event)
  puts "#{event["type"]} #{event["data"]["task_id"]}"
end

# Handle the stored events. After a crash, those that were not handled come first.
def work(inbox)
  inbox.execute("SELECT webhook_id, body FROM events WHERE done = 0 ORDER BY rowid").each do |id, body|
    handle(JSON.parse(body, max_nesting: false))
    inbox.execute("UPDATE events SET done = 1 WHERE webhook_id = ?", [id])
  rescue StandardError => problem
    warn "#{id} failed, and is tried again: #{problem}"
  end
end

$stdout.sync = true
Thread.new do
  loop do
    inbox = open_inbox
    work(inbox)
  rescue StandardError => problem # the inbox is locked, perhaps, or its disk is full
    warn "the inbox is tried again: #{problem}"
  ensure
    inbox&.close
    sleep 1
  end
end
