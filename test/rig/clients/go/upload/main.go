// On net/http: see uploads/uploader.ts. argv is VARIANT URL FILE.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
)

func upload(variant, to, path string) (int, error) {
	var body io.Reader
	if variant == "bytes" {
		whole, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(whole)
	} else {
		file, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		body = file
	}
	request, err := http.NewRequest(http.MethodPut, to, body)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func main() {
	seen := map[string]any{"version": runtime.Version()}
	status, err := upload(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		seen["error"], seen["words"] = fmt.Sprintf("%T", err), err.Error()
	} else {
		seen["status"] = status
	}
	json.NewEncoder(os.Stdout).Encode(seen)
}
