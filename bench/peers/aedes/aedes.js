// Runs aedes for bench/compare: in memory, one process, everybody may connect.
// Usage: node aedes.js PORT
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const port = Number(process.argv[2])
if (!Number.isInteger(port)) {
  console.error('usage: node aedes.js PORT')
  process.exit(2)
}
const broker = await Aedes.createBroker({ concurrency: 10000, queueLimit: 1000000 })
const server = createServer({ noDelay: true }, broker.handle)
server.listen({ port, host: '127.0.0.1', backlog: 4096 })
process.on('SIGTERM', () => process.exit(0))
