module github.com/nightjar-mqtt/nightjar

go 1.26
