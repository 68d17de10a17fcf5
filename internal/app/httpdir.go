package app

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// serveFile gives a file below dir, and index.html for a path that ends in a slash. What lies outside, by whatever name or
// link, is not found.
func serveFile(w http.ResponseWriter, r *http.Request, dir string) {
	notFound := func() { answer(w, http.StatusNotFound, "Not found.\n") }
	root, err := os.OpenRoot(dir)
	if err != nil {
		notFound()
		return
	}
	defer root.Close()
	name := strings.TrimLeft(r.URL.Path, "/")
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	f, err := root.Open(name)
	if err != nil {
		notFound()
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		notFound()
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}

// maxPlainFile bounds a file that a WebSocket listener gives: it goes out like messages do, by way of memory.
const maxPlainFile = 8 << 20

// plainFiles answers HTTP requests on a WebSocket listener with the files of a directory; nil: there is none.
func plainFiles(dir string) func(request []byte) []byte {
	if dir == "" {
		return nil
	}
	return func(request []byte) []byte {
		w := &wholeResponse{header: make(http.Header)}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		switch {
		case err != nil:
			answer(w, http.StatusBadRequest, "Bad request.\n")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			answer(w, http.StatusMethodNotAllowed, "Invalid HTTP Method\n")
		default:
			serveFile(w, r, dir)
		}
		return w.bytes()
	}
}

// wholeResponse is a response in memory.
type wholeResponse struct {
	header http.Header
	code   int
	body   bytes.Buffer
	large  bool
}

func (w *wholeResponse) Header() http.Header { return w.header }

func (w *wholeResponse) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
}

func (w *wholeResponse) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > maxPlainFile {
		w.large = true
		return 0, io.ErrShortWrite
	}
	return w.body.Write(p)
}

func (w *wholeResponse) bytes() []byte {
	if w.large {
		w.header, w.code = make(http.Header), http.StatusInternalServerError
		w.body.Reset()
	}
	w.WriteHeader(http.StatusOK)
	if w.header.Get("Content-Length") == "" {
		w.header.Set("Content-Length", fmt.Sprint(w.body.Len()))
	}
	w.header.Set("Connection", "close")
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", w.code, http.StatusText(w.code))
	_ = w.header.Write(&out) // to memory
	out.WriteString("\r\n")
	out.Write(w.body.Bytes())
	return out.Bytes()
}
