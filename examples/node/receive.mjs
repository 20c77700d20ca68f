#!/usr/bin/env node
// Receives what the hub delivers, as section 3 of WIRE.md says.
//
//     receive.mjs FOLDER              with the settings of examples/README.md
//
// FOLDER/received.jsonl gets a line per message of the sequence, FOLDER/aside.jsonl
// each message that isn't to be believed or can't be read. It runs until it is
// stopped, which it may be anyhow: a line holds its number, so that what is handled
// and the last number are written at once.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import amqp from 'amqplib'
import avro from 'avsc'
import { flattenedVerify, importJWK } from 'jose'

const PATIENCE = Number(process.env.PATIENCE ?? 10) // seconds that a gap may stay
const SCHEMA_URN = /^urn:pirogue:schema:([a-z][a-z0-9.]*):([1-9][0-9]*)(?::([0-9a-f]{32}))?$/

function fail(sentence) {
  console.error(sentence)
  process.exit(1)
}

function setting(name) {
  return process.env[name] || fail(`set ${name}: see examples/README.md`)
}

const [BROKER, MEMBER, HUB, SCHEMAS] = ['BROKER', 'MEMBER', 'HUB', 'SCHEMAS'].map(setting)

/** Not from the hub, or not for us: its number means nothing. */
class Forged extends Error {}
/** By a key that isn't known: it may be a new one, so it waits. */
class Unknown extends Error {}
/** From the hub, and so its number is used up; but it can't be used. */
class Unusable extends Error {}

function need(condition, why, Kind = Forged) {
  if (!condition) throw new Kind(why)
}

const isText = (value) => typeof value === 'string' && value !== ''
const sha256 = (octets, form) => createHash('sha256').update(octets).digest(form)

function base64url(text) {
  const octets = Buffer.from(text, 'base64url')
  need(octets.toString('base64url') === text, "base64url isn't canonical")
  return octets
}

/** JSON.parse, and no key may stand twice. */
function parseStrictly(octets) {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets)
  const value = JSON.parse(text)
  const keys = []
  let last
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === '{' || token === '[') keys.push(new Set())
    else if (token === '}' || token === ']') keys.pop()
    else if (token === ':') {
      need(!keys.at(-1).has(JSON.parse(last)), 'a key stands twice in the JWS header')
      keys.at(-1).add(JSON.parse(last))
    }
    last = token
  }
  return value
}

// ---- section 4: the keys

const keysOf = (path) => JSON.parse(fs.readFileSync(path, 'utf8')).keys.map((key) => [key.kid, key])

function readKeys() {
  const folder = setting('MEMBER_KEYS')
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.jwks.json'))
  return { hub: new Map(keysOf(setting('HUB_KEYS'))), members: new Map(files.flatMap((name) => keysOf(`${folder}/${name}`))) }
}

const imported = new Map()
const publicKey = (key) => imported.get(key.x) ?? imported.set(key.x, importJWK(key, 'EdDSA')).get(key.x)

// ---- sections 1 and 3: what a recipient checks

/** The protected header of a detached JWS, strictly. */
function headerOf(jws) {
  need(/^[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+$/.test(jws), "the JWS isn't detached")
  const [encoded, , signature] = jws.split('.')
  base64url(signature)
  const header = parseStrictly(base64url(encoded))
  need(header?.alg === 'EdDSA' || header?.alg === 'Ed25519', "alg isn't EdDSA")
  need(header.b64 === false && JSON.stringify(header.crit) === '["b64"]', "b64 or crit isn't as it has to be")
  need(typeof header.ce === 'object' && header.ce && isText(header.kid), 'ce or kid is missing')
  need(Object.values(header.ce).every(isText), "a value in ce isn't a text")
  return header
}

async function verify(jws, body, key, Kind = Forged) {
  const [encoded, , signature] = jws.split('.')
  try {
    await flattenedVerify({ protected: encoded, payload: body, signature }, await publicKey(key))
  } catch {
    throw new Kind("the signature isn't of this header and body by that key")
  }
}

/** Returns the attributes that the hub signed; throws Forged or Unknown. */
async function check({ properties, content }, keys) {
  const attributes = {}
  for (const [name, value] of Object.entries(properties.headers ?? {})) {
    if (!name.startsWith('cloudEvents_')) continue
    need(isText(value), "a header isn't a text")
    attributes[name.slice('cloudEvents_'.length)] = value
  }
  const { signature: jws, originsignature, ...rest } = attributes
  const { kid, aud, ce } = headerOf(jws ?? '')
  need(!keys.members.has(kid), "the key is a member's")
  need(keys.hub.has(kid), `the key ${kid} isn't known`, Unknown)
  const key = keys.hub.get(kid)
  need(key.pirogue_use === 'delivery' && !key.revoked, "the key isn't for deliveries")
  need(aud === MEMBER && ce.recipient === MEMBER, 'it is for another recipient')
  await verify(jws, content, key)
  rest.datacontenttype = properties.contentType
  const names = Object.keys(rest)
  need(names.length === Object.keys(ce).length && names.every((name) => ce[name] === rest[name]),
    'a header differs from what is signed')
  need(properties.messageId === ce.id && properties.type === ce.type, 'a property differs')
  need(ce.specversion === '1.0' && ce.datacontenttype === 'application/avro', 'not an event of ours')
  need(/^[1-9][0-9]{0,9}$/.test(ce.epoch), 'no epoch')
  need(/^[0-9]{20}$/.test(ce.sequence) && Number.isSafeInteger(Number(ce.sequence)) && Number(ce.sequence) > 0, 'no sequence')
  need(/^\/[a-z][a-z0-9-]*\/[a-z][a-z0-9-]*$/.test(ce.source), 'no source')
  const ofHub = ce.source.startsWith('/hub/')
  need(!ofHub || ce.source === `/hub/${HUB}`, 'it is of another hub')
  need(isText(ce.type) && ce.type.startsWith('nc.hub.') === ofHub, 'only the hub has types nc.hub')
  need(['subject', 'agreement'].every((name) => name in ce !== ofHub), 'subject or agreement')
  return ce
}

/** The publisher's own signature, where the hub carries it along. */
async function checkOrigin({ properties, content }, ce, keys) {
  const jws = properties.headers.cloudEvents_originsignature
  need((jws === undefined) === !('origin' in ce), 'origin without originsignature, or the reverse', Unusable)
  if (jws === undefined) return
  need(sha256(jws, 'base64url') === ce.origin, "originsignature isn't the one that the hub means", Unusable)
  let header
  try {
    header = headerOf(jws)
  } catch (fault) {
    throw new Unusable(`originsignature: ${fault instanceof Forged ? fault.message : "it can't be read"}`)
  }
  const key = keys.members.get(header.kid)
  need(key?.pirogue_use === 'event' && key.pirogue_member === ce.source.split('/')[1] && !key.revoked,
    "originsignature isn't by the provider", Unusable)
  await verify(jws, content, key, Unusable)
  need(['source', 'type', 'id'].every((name) => header.ce[name] === ce[name]), 'originsignature is of another event', Unusable)
}

/** CRC-64-AVRO of a text, as the 8 little-endian bytes of single-object encoding. */
function fingerprint(text) {
  const empty = 0xc15d213aa4d7a795n
  let crc = empty
  for (const byte of Buffer.from(text)) {
    let entry = (crc ^ BigInt(byte)) & 0xffn
    for (let bit = 0; bit < 8; bit++) entry = (entry >> 1n) ^ (entry & 1n ? empty : 0n)
    crc = (crc >> 8n) ^ entry
  }
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(crc)
  return bytes
}

/** What was received: the last number, the hub's schemas, the two files. */
class Box {
  epoch = 1
  sequence = 0
  schemas = new Map()
  lines = []
  asides = []

  constructor(folder) {
    fs.mkdirSync(folder, { recursive: true })
    this.asideFile = fs.openSync(`${folder}/aside.jsonl`, 'a')
    this.file = fs.openSync(`${folder}/received.jsonl`, 'a')
    const octets = fs.readFileSync(`${folder}/received.jsonl`)
    const whole = octets.lastIndexOf('\n') + 1 // what follows is a line that was being written
    fs.ftruncateSync(this.file, whole)
    for (const line of octets.toString('utf8', 0, whole).split('\n').filter(Boolean)) {
      const record = JSON.parse(line)
      this.epoch = record.epoch
      this.sequence = record.sequence
      this.learn(record)
    }
  }

  /** The sequence rule: -1 handled before, 0 the next, 1 too early. */
  turn(epoch, sequence) {
    const next = epoch === this.epoch ? this.sequence + 1 : 1
    return epoch < this.epoch ? -1 : Math.sign(sequence - next)
  }

  /** A schema that the hub publishes, before its first use. */
  learn({ type, data }) {
    if (type !== 'nc.hub.schema.published' || !data) return
    const urn = SCHEMA_URN.exec(data.reference)
    need(urn && sha256(data.schema, 'hex').startsWith(urn[3] ?? ''), "the published schema isn't the one of its reference", Unusable)
    this.add(data.reference, data.schema)
  }

  add(reference, text) {
    const type = avro.Type.forSchema(JSON.parse(text), { wrapUnions: 'never' })
    const prefix = Buffer.concat([Buffer.from([0xc3, 0x01]), fingerprint(JSON.stringify(type.schema()))])
    this.schemas.set(reference, { type, prefix })
  }

  /** The body as JSON, with the schema that dataschema names. */
  read(ce, body) {
    const [urn, kind, version, hash] = SCHEMA_URN.exec(ce.dataschema) ?? []
    need(kind === ce.type, "dataschema isn't of this type", Unusable)
    if (!this.schemas.has(urn)) {
      const path = `${SCHEMAS}/${kind}/${version}.json`
      need(!hash && fs.existsSync(path), "the schema isn't known", Unusable)
      this.add(urn, fs.readFileSync(path, 'utf8'))
    }
    const { type, prefix } = this.schemas.get(urn)
    need(body.subarray(0, prefix.length).equals(prefix), "the body isn't of that schema", Unusable)
    try {
      return type.fromBuffer(body.subarray(prefix.length)) // to its end
    } catch {
      throw new Unusable("the body can't be read")
    }
  }

  aside(why, { properties, content }) {
    console.error(`set aside: ${why}`)
    this.asides.push({ why, headers: properties.headers, body: content.toString('base64') })
  }

  async handle(message, ce, keys) {
    const { id, source, type, subject = null, time, agreement = null } = ce
    const record = { epoch: Number(ce.epoch), sequence: Number(ce.sequence), id, source, type, subject, time, agreement }
    try {
      await checkOrigin(message, ce, keys)
      const data = this.read(ce, message.content)
      this.learn({ type, data })
      record.data = data
    } catch (fault) {
      if (!(fault instanceof Unusable)) throw fault
      record.aside = fault.message // its number is used up all the same
      this.aside(fault.message, message)
    }
    this.lines.push(record)
    this.epoch = record.epoch
    this.sequence = record.sequence
  }

  /** Durable, before anything is acknowledged. */
  save() {
    for (const [file, items] of [[this.asideFile, this.asides], [this.file, this.lines]]) {
      if (!items.length) continue
      try {
        fs.writeFileSync(file, items.map((item) => JSON.stringify(item) + '\n').join(''))
        fs.fsyncSync(file)
      } catch (fault) {
        fail(`what was received can't be written: ${fault.message}`) // nothing of it is acknowledged
      }
      items.length = 0
    }
  }
}

/** Consumes until a gap, or a message by an unknown key, has stayed too long. */
async function receive(connection, box) {
  const keys = readKeys()
  const channel = await connection.createChannel()
  const arrived = []
  let wake = () => {}
  let end = null
  for (const source of [connection, channel]) {
    source.on('error', (fault) => { end ??= fault; wake() })
    source.on('close', () => { end ??= new Error('the connection is closed'); wake() })
  }
  await channel.prefetch(1000)
  await channel.consume(`pirogue.to.${MEMBER}`, (message) => {
    if (message) arrived.push(message)
    else end = new Error('the queue is gone')
    wake()
  })
  const waiting = new Map()
  let unknown = 0
  let since = null
  while (true) {
    if (!arrived.length && !end) {
      await Promise.race([new Promise((resolve) => { wake = resolve }), sleep(500, undefined, { ref: false })])
    }
    if (arrived.length < 250) await sleep(10) // what comes in a moment is written with one flush
    if (end) throw end
    const done = []
    const messages = arrived.splice(0, 250)
    const checked = await Promise.allSettled(messages.map((message) => check(message, keys)))
    for (const [at, { value: ce, reason }] of checked.entries()) {
      const message = messages[at]
      const number = ce && `${ce.epoch}/${ce.sequence}`
      if (reason instanceof Unknown) {
        console.error(`${reason.message}: it waits`)
        unknown += 1
      } else if (reason) {
        box.aside(reason instanceof Forged ? reason.message : "the JWS can't be read", message)
        done.push(message)
      } else if (waiting.has(number)) {
        done.push(message) // the same once more
      } else {
        waiting.set(number, { message, ce, epoch: Number(ce.epoch), sequence: Number(ce.sequence) })
      }
      const inOrder = [...waiting].sort(([, a], [, b]) => a.epoch - b.epoch || a.sequence - b.sequence)
      for (const [number, { message, ce, epoch, sequence }] of inOrder) {
        const turn = box.turn(epoch, sequence)
        if (turn > 0) continue
        if (turn === 0) await box.handle(message, ce, keys)
        waiting.delete(number)
        done.push(message)
      }
    }
    if (done.length) {
      box.save()
      if (waiting.size || unknown) done.forEach((message) => channel.ack(message)) // those stay unacknowledged
      else channel.ack(done.reduce((a, b) => (a.fields.deliveryTag > b.fields.deliveryTag ? a : b)), true)
    }
    since = waiting.size || unknown ? since ?? Date.now() : null
    if (since && Date.now() - since > PATIENCE * 1000) break
  }
  if (waiting.size) console.error(`a gap stays after ${box.epoch}/${box.sequence}: ask the hub's operator for a replay`)
  channel.removeAllListeners('close')
  await channel.close() // what is unacknowledged comes again
  connection.removeAllListeners()
}

const box = new Box(process.argv[2])
for (let pause = 200; ; pause = Math.min(pause * 2, 10_000)) {
  let connection
  try {
    const ca = process.env.CA_FILE && [fs.readFileSync(process.env.CA_FILE)]
    connection = await amqp.connect(BROKER, { ca })
    pause = 200
    while (true) await receive(connection, box)
  } catch (fault) {
    if (fault.code === 403 || fault.code === 404 || /ACCESS_REFUSED/.test(fault.message)) {
      fail(`the broker refuses ${MEMBER}: ${fault.message}; check BROKER`)
    }
    console.error(`no connection (${fault.message}): again in ${pause} ms`)
    connection?.removeAllListeners('error').on('error', () => {}).close().catch(() => {})
    await sleep(pause)
  }
}
