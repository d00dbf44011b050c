// An app on minio-go: see s3-app.ts. argv is {"endpoint": {"url", "bucket"}, "calls": [...]}; prints the results.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

type call struct {
	Op, Key, File, Prefix string
}

type result = map[string]any

func perform(s3 *minio.Client, bucket string, asked call) (result, error) {
	ctx := context.Background()
	switch asked.Op {
	case "put":
		file, err := os.Open(asked.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stat, err := file.Stat()
		if err != nil {
			return nil, err
		}
		done, err := s3.PutObject(ctx, bucket, asked.Key, file, stat.Size(), minio.PutObjectOptions{DisableMultipart: true})
		return result{"etag": done.ETag}, err
	case "upload":
		_, err := s3.FPutObject(ctx, bucket, asked.Key, asked.File, minio.PutObjectOptions{PartSize: 5 << 20})
		return result{}, err
	case "head":
		found, err := s3.StatObject(ctx, bucket, asked.Key, minio.StatObjectOptions{})
		return result{"etag": found.ETag, "bytes": found.Size}, err
	case "get":
		found, err := s3.GetObject(ctx, bucket, asked.Key, minio.GetObjectOptions{})
		if err != nil {
			return nil, err
		}
		hash := sha256.New()
		size, err := io.Copy(hash, found)
		return result{"etag": nil, "bytes": size, "sha256": hex.EncodeToString(hash.Sum(nil))}, err
	case "list":
		keys := []string{}
		for found := range s3.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: asked.Prefix, Recursive: true}) {
			if found.Err != nil {
				return nil, found.Err
			}
			keys = append(keys, found.Key)
		}
		return result{"keys": keys}, nil
	case "delete":
		return result{}, s3.RemoveObject(ctx, bucket, asked.Key, minio.RemoveObjectOptions{})
	}
	return nil, errors.New("not asked of this client: " + asked.Op)
}

func run() ([]result, error) {
	var asked struct {
		Endpoint struct{ URL, Bucket string }
		Calls    []call
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &asked); err != nil {
		return nil, err
	}
	at, err := url.Parse(asked.Endpoint.URL)
	if err != nil {
		return nil, err
	}
	s3, err := minio.New(at.Host, &minio.Options{Creds: credentials.NewStaticV4("APPKEY", "app-secret", "")})
	if err != nil {
		return nil, err
	}
	results := []result{}
	for _, next := range asked.Calls {
		done, err := perform(s3, asked.Endpoint.Bucket, next)
		if err != nil {
			said := minio.ToErrorResponse(err)
			done = result{"error": said.Code, "status": said.StatusCode, "words": err.Error()}
		}
		results = append(results, done)
	}
	return results, nil
}

func main() {
	results, err := run()
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
