package netloop

var engines = []engineKind{{"epoll", startEpoll}, {"goroutine", startGoroutine}}
