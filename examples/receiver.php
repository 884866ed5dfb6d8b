<?php
// Receives the bridge's callbacks with PHP 8 alone (pdo_sqlite). It is two programs: the web server calls it for
// each callback, and as a worker it does the work.
//
//   SIGNING_SECRET=whsec_… php -S 127.0.0.1:9000 receiver.php
//   php receiver.php

// Standard Webhooks, with PHP's own HMAC; the package standard-webhooks/standard-webhooks does the same.
function is_genuine(string $id, string $timestamp, string $signatures, string $body): bool
{
    if ($id === '' || !ctype_digit($timestamp) || abs(time() - (int) $timestamp) > 300) {
        return false; // too old: perhaps a replay
    }
    $key = base64_decode(substr((string) getenv('SIGNING_SECRET'), strlen('whsec_')));
    if ($key === '') {
        throw new RuntimeException('SIGNING_SECRET is no signing secret');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

// The received events, each stored once. In your app: a table of your own database.
function inbox(): PDO
{
    $inbox = new PDO('sqlite:' . dirname(__DIR__) . '/inbox.db'); // outside this folder, which the web server serves
    $inbox->exec('PRAGMA busy_timeout = 10000');
    $inbox->exec('CREATE TABLE IF NOT EXISTS events (webhook_id TEXT PRIMARY KEY, body TEXT, done INTEGER DEFAULT 0)');
    return $inbox;
}

function receive(): int
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST' || parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) !== '/hooks/hubspot') {
        return 404;
    }
    $body = file_get_contents('php://input'); // the raw bytes
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!is_genuine($id, $timestamp, $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '', $body)) {
        return 400;
    }
    // A callback may come twice, with the same id: the second one changes nothing.
    inbox()->prepare('INSERT OR IGNORE INTO events (webhook_id, body) VALUES (?, ?)')->execute([$id, $body]);
    return 204;
}

// Your work. It may be slow.
function handle(array $event): void
{
    echo $event['type'], ' ', $event['data']['task_id'] ?? '', "\n";
}

// Handle the stored events in an endless loop. After a crash, those that were not handled come first.
function work(): void
{
    while (true) {
        try {
            work_once(inbox());
        } catch (Throwable $problem) { // the inbox is locked, perhaps, or its disk is full
            error_log("the inbox is tried again: $problem");
        }
        sleep(1);
    }
}

function work_once(PDO $inbox): void
{
    foreach ($inbox->query('SELECT * FROM events WHERE done = 0 ORDER BY rowid')->fetchAll() as $row) {
        try {
            handle(json_decode($row['body'], true, 1000, JSON_THROW_ON_ERROR));
        } catch (Throwable $problem) {
            error_log("{$row['webhook_id']} failed, and is tried again: $problem");
            continue;
        }
        $inbox->prepare('UPDATE events SET done = 1 WHERE webhook_id = ?')->execute([$row['webhook_id']]);
    }
}

if (PHP_SAPI === 'cli') {
    work();
}
http_response_code(500); // until it has gone well: PHP would show an error as a 200
http_response_code(receive());
