#!/usr/bin/env node
// Publishes the records of a JSON Lines file as events, as WIRE.md says.
//
//     publish.mjs RECORDS.jsonl       with the settings of examples/README.md
//
// It may be stopped anyhow and run again: a record keeps its id, and the hub
// drops what it has. Exit status 1: a record can't be encoded, or an event isn't taken.
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { createReadStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import amqp from 'amqplib'
import avro from 'avsc'
import { FlattenedSign, calculateJwkThumbprint } from 'jose'

const WINDOW = 500 // so many events are on their way at once

function fail(sentence) {
  console.error(sentence)
  process.exit(1)
}

function setting(name) {
  return process.env[name] || fail(`set ${name}: see examples/README.md`)
}

const [BROKER, MEMBER, SYSTEM, HUB] = ['BROKER', 'MEMBER', 'SYSTEM', 'HUB'].map(setting)

// ---- section 4: the key, and its id, which is the thumbprint of RFC 7638
const KEY = createPrivateKey(readFileSync(setting('KEY')))
const KID = await calculateJwkThumbprint(createPublicKey(KEY).export({ format: 'jwk' }))

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

const SCHEMAS = new Map()

/** The schema of a type, and the prefix of single-object encoding. */
function schema(kind) {
  if (!SCHEMAS.has(kind)) {
    const text = readFileSync(`${setting('SCHEMAS')}/${kind}/1.json`, 'utf8')
    const type = avro.Type.forSchema(JSON.parse(text), { wrapUnions: 'never' })
    // avsc's schema() is the Parsing Canonical Form.
    const prefix = Buffer.concat([Buffer.from([0xc3, 0x01]), fingerprint(JSON.stringify(type.schema()))])
    SCHEMAS.set(kind, { type, prefix })
  }
  return SCHEMAS.get(kind)
}

/** Section 1: an event's routing key, body and properties. */
async function event({ id, type: kind, subject, time, data }) {
  const { type, prefix } = schema(kind)
  const wrong = (path) => {
    throw new Error(`the field ${path.join('.')} isn't as its schema says`) // its value may be a citizen's
  }
  type.isValid(data, { noUndeclaredFields: true, errorHook: wrong })
  const body = Buffer.concat([prefix, type.toBuffer(data)])
  const dataschema = `urn:pirogue:schema:${kind}:1`
  const attributes = { specversion: '1.0', id, source: `/${MEMBER}/${SYSTEM}`, type: kind, subject, time, dataschema }
  const absent = Object.keys(attributes).find((name) => typeof attributes[name] !== 'string')
  if (absent) throw new Error(`no ${absent}`)
  const ce = { ...attributes, datacontenttype: 'application/avro' }
  const jws = await new FlattenedSign(body)
    .setProtectedHeader({ alg: 'EdDSA', b64: false, crit: ['b64'], kid: KID, aud: HUB, ce })
    .sign(KEY)
  const headers = { cloudEvents_signature: `${jws.protected}..${jws.signature}` }
  for (const [name, value] of Object.entries(attributes)) headers[`cloudEvents_${name}`] = value
  const properties = { contentType: 'application/avro', persistent: true, messageId: id, type: kind }
  return [`${MEMBER}.${kind}`, body, { ...properties, appId: MEMBER, userId: MEMBER, headers, mandatory: true }]
}

/** A channel with confirms. What ends it is in `lost`, which never resolves. */
async function open() {
  const ca = process.env.CA_FILE && [readFileSync(process.env.CA_FILE)]
  const connection = await amqp.connect(BROKER, { ca })
  const channel = await connection.createConfirmChannel()
  const lost = new Promise((_, reject) => {
    for (const end of [connection, channel]) {
      end.on('error', reject)
      end.on('close', () => reject(new Error('the connection is closed')))
    }
  })
  lost.catch(() => {})
  channel.on('return', ({ properties }) =>
    fail(`the broker has no queue for ${properties.messageId}: tell the hub's operator, then run this again`))
  return { channel, lost }
}

/** Publishes in order. Returns what isn't taken: from the first nack on. */
async function send({ channel, lost }, window) {
  const confirm = ([routingKey, body, options]) =>
    new Promise((resolve) => channel.publish('pirogue.events', routingKey, body, options, (nack) => resolve(!nack)))
  const taken = await Promise.race([Promise.all(window.map(confirm)), lost])
  return taken.includes(false) ? window.slice(taken.indexOf(false)) : []
}

let link = null
let taken = 0
let leftOut = 0

async function sendAll(window) {
  taken += window.length
  for (let pause = 200; window.length; ) {
    const before = window.length
    let why = "the hub's inbox takes no more now"
    try {
      link ??= await open()
      window = await send(link, window)
    } catch (fault) {
      if (fault.code === 403 || fault.code === 404 || /ACCESS_REFUSED|403/.test(fault.message)) {
        fail(`the broker refuses ${MEMBER}: ${fault.message}; check BROKER`)
      }
      link = null
      why = `no connection (${fault.message})`
    }
    if (!window.length) return
    pause = window.length < before ? 200 : Math.min(pause * 2, 10_000)
    console.error(`${why}: ${window.length} events wait`) // section 1: a nack means try again later
    await sleep(pause)
  }
}

let window = []
let number = 0
for await (const line of createInterface({ input: createReadStream(process.argv[2]) })) {
  number += 1
  try {
    window.push(await event(JSON.parse(line)))
  } catch (fault) {
    console.error(`line ${number} is left out: ${fault instanceof SyntaxError ? 'no JSON' : fault.message}`)
    leftOut += 1
  }
  if (window.length === WINDOW) await sendAll(window.splice(0))
}
await sendAll(window)
console.log(`${taken} events are taken, ${leftOut} records left out`)
process.exit(leftOut ? 1 : 0)
