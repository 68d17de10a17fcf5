package netloop

var engines = []engineKind{}
