// Command mirror serves the lab's mirror of the internet on one port: files by upstream host and path,
// and a container registry under /v2/. Both handlers are libraries; this joins them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

const registryConfiguration = `
version: 0.1
log:
  accesslog: {disabled: true}
  level: warn
storage:
  filesystem: {rootdirectory: %q}
  maintenance:
    uploadpurging: {enabled: false}
    readonly: {enabled: %t}
`

func main() {
	listen := flag.String("listen", ":80", "address to serve on")
	files := flag.String("files", "", "folder of the files, laid out as /<upstream host>/<path>")
	images := flag.String("images", "", "storage folder of the container registry")
	writable := flag.Bool("writable", false, "let clients push images")
	flag.Parse()

	text := fmt.Sprintf(registryConfiguration, *images, !*writable)
	config, err := configuration.Parse(strings.NewReader(text))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/v2/", handlers.NewApp(context.Background(), config))
	http.Handle("/", http.FileServer(http.Dir(*files)))
	log.Fatal(http.ListenAndServe(*listen, nil))
}
