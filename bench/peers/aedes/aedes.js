// Runs aedes for bench/compare: in memory, one process, everybody may connect.
// Usage: node aedes.js PORT [tcp | tls CERT KEY | ws]
import { readFileSync } from 'node:fs'
import { createServer as createHTTPServer } from 'node:http'
import { createServer } from 'node:net'
import { createServer as createTLSServer } from 'node:tls'
import { Aedes } from 'aedes'
import { WebSocketServer, createWebSocketStream } from 'ws'

const port = Number(process.argv[2])
const [transport = 'tcp', cert, key] = process.argv.slice(3)
if (!Number.isInteger(port) || !['tcp', 'tls', 'ws'].includes(transport)) {
  console.error('usage: node aedes.js PORT [tcp | tls CERT KEY | ws]')
  process.exit(2)
}
const broker = await Aedes.createBroker({ concurrency: 10000, queueLimit: 1000000 })

function listener () {
  switch (transport) {
    case 'tls':
      return createTLSServer({ cert: readFileSync(cert), key: readFileSync(key), noDelay: true }, broker.handle)
    case 'ws': {
      const http = createHTTPServer({ noDelay: true })
      const sockets = new WebSocketServer({ server: http, perMessageDeflate: false })
      sockets.on('connection', (socket, request) => broker.handle(createWebSocketStream(socket), request))
      return http
    }
  }
  return createServer({ noDelay: true }, broker.handle)
}

listener().listen({ port, host: '127.0.0.1', backlog: 4096 })
process.on('SIGTERM', () => process.exit(0))
