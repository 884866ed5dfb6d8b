// Receives the bridge's callbacks with Go alone.
//
//	SIGNING_SECRET=whsec_… go run receiver.go
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The inbox is a folder: a file for each event, and one that ends in .done when it has been handled. In your app:
// a table of your own database, with the id as its key.
const inbox = "inbox"

var (
	key  []byte              // the signing secret
	left = make(chan string) // the ids of events that are to be handled
)

type event struct {
	Type string
	Data struct {
		TaskID string `json:"task_id"`
	}
}

// isGenuine is Standard Webhooks with Go's own HMAC; the module of the specification's authors does the same.
func isGenuine(header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil || math.Abs(float64(time.Now().Unix()-seconds)) > 300 {
		return false // too old: perhaps a replay
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(signature), []byte(expected)) {
			return true
		}
	}
	return false
}

func receive(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, 1<<20))
	if err != nil || !isGenuine(request.Header, body) {
		response.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := note(request.Header.Get("webhook-id"), body); err != nil {
		log.Print(err)
		response.WriteHeader(http.StatusInternalServerError) // so that the callback is sent again
		return
	}
	response.WriteHeader(http.StatusNoContent)
}

// note stores an event atomically. It may come twice, with the same id: the second changes nothing.
func note(id string, body []byte) error {
	draft := filepath.Join(inbox, id+"."+strconv.FormatInt(time.Now().UnixNano(), 36)+".draft")
	defer os.Remove(draft)
	if err := os.WriteFile(draft, body, 0o600); err != nil {
		return err
	}
	err := os.Link(draft, filepath.Join(inbox, id+".json"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		go func() { left <- id }()
	}
	return err
}

// handle is your work. It may be slow.
func handle(event event) error {
	fmt.Println(event.Type, event.Data.TaskID)
	return nil
}

// work handles the pending events, one after another.
func work() {
	for id := range left {
		if err := handleFile(filepath.Join(inbox, id)); err != nil {
			log.Printf("%s failed, and is tried again: %v", id, err)
			id := id
			time.AfterFunc(10*time.Second, func() { left <- id })
		}
	}
}

func handleFile(path string) error {
	if _, err := os.Stat(path + ".done"); err == nil {
		return nil
	}
	body, err := os.ReadFile(path + ".json")
	if err != nil {
		return err
	}
	var event event
	if err := json.Unmarshal(body, &event); err != nil {
		return err
	}
	if err := handle(event); err != nil {
		return err
	}
	return os.WriteFile(path+".done", nil, 0o600)
}

// takeUp finds the events that were stored before a crash; those that were handled are passed over.
func takeUp() {
	files, _ := filepath.Glob(filepath.Join(inbox, "*.json"))
	for _, file := range files {
		left <- strings.TrimSuffix(filepath.Base(file), ".json")
	}
}

func main() {
	var err error
	key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("SIGNING_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		log.Fatal("SIGNING_SECRET is no signing secret")
	}
	if err := os.MkdirAll(inbox, 0o700); err != nil {
		log.Fatal(err)
	}
	go work()
	go takeUp()
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	http.HandleFunc("/hooks/hubspot", receive)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
