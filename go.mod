module github.com/nightjar-mqtt/nightjar

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/tidwall/btree v1.8.2
	golang.org/x/sys v0.50.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
