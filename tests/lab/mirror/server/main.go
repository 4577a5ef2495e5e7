// Command mirror serves the lab's mirror of the internet on one port: files by upstream host and path, and below /v2/
// container images, which are files as well (see images.py) and can only be pulled.
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	digestHeader = "Docker-Content-Digest"
)

func main() {
	listen := flag.String("listen", ":80", "address to serve on")
	files := flag.String("files", "", "folder of the files, laid out as /<upstream host>/<path>")
	images := flag.String("images", "", "folder of the container images")
	flag.Parse()

	folder, err := os.OpenRoot(*images)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/v2/", registry{folder})
	http.Handle("/", http.FileServer(http.Dir(*files)))
	log.Fatal(http.ListenAndServe(*listen, nil))
}

// registry answers what clients ask to pull an image. Source: OCI Distribution Specification, "Pull".
type registry struct{ folder *os.Root }

func (images registry) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	name := strings.TrimPrefix(request.URL.Path, "/v2/")
	_, blob, isBlob := strings.Cut(name, "/blobs/")
	_, reference, isManifest := strings.Cut(name, "/manifests/")
	switch {
	case request.Method != http.MethodGet && request.Method != http.MethodHead:
		http.Error(answer, "images can only be pulled", http.StatusMethodNotAllowed)
	case name == "":
		answer.WriteHeader(http.StatusOK)
	case isBlob:
		answer.Header().Set("Content-Type", "application/octet-stream")
		answer.Header().Set(digestHeader, blob)
		images.serve(answer, request, "blobs/"+blob)
	case isManifest && strings.HasPrefix(reference, "sha256:"):
		answer.Header().Set("Content-Type", manifestType)
		answer.Header().Set(digestHeader, reference)
		images.serve(answer, request, "blobs/"+reference)
	case isManifest:
		images.serveTag(answer, request, name)
	default:
		http.NotFound(answer, request)
	}
}

func (images registry) serve(answer http.ResponseWriter, request *http.Request, path string) {
	file, err := images.folder.Open(path)
	if err != nil {
		http.NotFound(answer, request)
		return
	}
	defer file.Close()
	http.ServeContent(answer, request, "", time.Time{}, file)
}

func (images registry) serveTag(answer http.ResponseWriter, request *http.Request, path string) {
	file, err := images.folder.Open(path)
	if err != nil {
		http.NotFound(answer, request)
		return
	}
	defer file.Close()
	manifest, err := io.ReadAll(file)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	answer.Header().Set("Content-Type", manifestType)
	answer.Header().Set(digestHeader, fmt.Sprintf("sha256:%x", sha256.Sum256(manifest)))
	http.ServeContent(answer, request, "", time.Time{}, bytes.NewReader(manifest))
}
