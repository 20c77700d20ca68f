#!/usr/bin/env python3
"""Publishes the records of a JSON Lines file as events, as WIRE.md says.

    publish.py RECORDS.jsonl        with the settings of examples/README.md

It may be stopped anyhow and run again: a record keeps its id, and the hub drops
what it has. Exit status 1: a record can't be encoded, or an event is not taken.
"""
import base64, hashlib, io, itertools, json, os, ssl, sys, time
import fastavro, jwt, pika
from cryptography.hazmat.primitives import serialization
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pika import exceptions

WINDOW = 500  # so many events are on their way at once


def setting(name, default=None):
    return os.environ.get(name) or default or sys.exit(f"set {name}: see examples/README.md")


BROKER, MEMBER, SYSTEM, HUB = (setting(name) for name in ("BROKER", "MEMBER", "SYSTEM", "HUB"))


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


# ---- section 4: the key, and its id, which is the thumbprint of RFC 7638
with open(setting("KEY"), "rb") as file:
    KEY = serialization.load_pem_private_key(file.read(), password=None)
RAW = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
KID = base64url(hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % base64url(RAW).encode()).digest())
SCHEMAS = {}


def schema(kind):
    """The schema of a type, and the prefix of single-object encoding."""
    if kind not in SCHEMAS:
        with open(os.path.join(setting("SCHEMAS"), kind, "1.json"), encoding="utf-8") as file:
            text = json.load(file)
        crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(text), "CRC-64-AVRO"))
        SCHEMAS[kind] = fastavro.parse_schema(text), b"\xc3\x01" + crc
    return SCHEMAS[kind]


def event(record):
    """Section 1: an event's routing key, properties and body."""
    kind = record["type"]
    parsed, prefix = schema(kind)
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, parsed, record["data"], strict_allow_default=True)
    body = prefix + datum.getvalue()
    attributes = {
        "specversion": "1.0",
        "id": record["id"],
        "source": f"/{MEMBER}/{SYSTEM}",
        "type": kind,
        "subject": record["subject"],
        "time": record["time"],
        "dataschema": f"urn:pirogue:schema:{kind}:1",
    }
    ce = {**attributes, "datacontenttype": "application/avro"}
    header = {"b64": False, "crit": ["b64"], "kid": KID, "aud": HUB, "ce": ce}
    jws = jwt.PyJWS().encode(body, KEY, "EdDSA", headers=header, is_payload_detached=True)
    headers = {f"cloudEvents_{name}": value for name, value in {**attributes, "signature": jws}.items()}
    properties = pika.BasicProperties(
        content_type="application/avro", delivery_mode=2, message_id=record["id"], type=kind,
        app_id=MEMBER, user_id=MEMBER, headers=headers)  # fmt: skip
    return f"{MEMBER}.{kind}", properties, body


class Link:
    """A channel with confirms; `send` waits for those of a window of events."""

    def __init__(self):
        self.fault, self.returned, self.tag = None, None, 0
        parameters = pika.URLParameters(BROKER)
        if BROKER.startswith("amqps:"):
            context = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))
            parameters.ssl_options = pika.SSLOptions(context, parameters.host)
        opened = lambda connection: connection.channel(on_open_callback=self.ready)
        self.connection = pika.SelectConnection(parameters, opened, self.lost, self.lost)
        self.wait()

    def wait(self):
        self.connection.ioloop.start()
        if self.fault:
            raise self.fault

    def stop(self, *_):
        self.connection.ioloop.stop()

    def lost(self, _, why):
        # A fault of a connection that isn't there yet stands in those of the attempts.
        why = getattr(why, "exceptions", [why])[-1]
        why = getattr(why, "exception", why)
        is_amqps = isinstance(why, exceptions.AMQPError)
        self.fault = self.fault or (why if is_amqps else exceptions.AMQPConnectionError(repr(why)))
        self.stop()

    def ready(self, channel):
        self.channel = channel
        channel.add_on_close_callback(self.lost)
        channel.add_on_return_callback(self.unrouted)
        channel.confirm_delivery(self.confirmed, self.stop)

    def unrouted(self, _channel, _method, properties, _body):
        self.returned = properties.message_id

    def confirmed(self, frame):
        tag, refused = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Nack)
        for tag in [t for t in self.open if t <= tag] if frame.method.multiple else [tag]:
            self.open.discard(tag)
            if refused:
                self.first_refused = min(self.first_refused, tag)
        if not self.open:
            self.stop()

    def send(self, window):
        """Publishes in order. Returns what isn't taken: from the first nack on."""
        begin = self.tag + 1
        self.tag += len(window)
        self.open, self.first_refused = set(range(begin, self.tag + 1)), self.tag + 1
        for routing_key, properties, body in window:
            self.channel.basic_publish("pirogue.events", routing_key, body, properties, mandatory=True)
        self.wait()
        if self.returned:
            sys.exit(f"the broker has no queue for {self.returned}: tell the hub's operator, then run this again")
        return window[self.first_refused - begin :]


def events(path):
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        try:
            yield event(json.loads(line))
        except (ValueError, KeyError, TypeError) as why:
            # The name of what is wrong, and no value: it may be a citizen's.
            missing = f"no {why}" if isinstance(why, KeyError) else f"no record of its schema ({type(why).__name__})"
            print(f"line {number} is left out: {missing}", file=sys.stderr)
            events.left_out += 1


def main():
    events.left_out = taken = 0
    link, all_events = None, events(sys.argv[1])
    for window in iter(lambda: list(itertools.islice(all_events, WINDOW)), []):
        taken, pause = taken + len(window), 0.2
        while window:
            before = len(window)
            try:
                link = link or Link()
                window = link.send(window)
                why = "the hub's inbox takes no more now"
            except (exceptions.ProbableAuthenticationError, exceptions.ProbableAccessDeniedError) as fault:
                sys.exit(f"the broker refuses {MEMBER}: {fault!r}; check BROKER")
            except exceptions.AMQPError as fault:
                if getattr(fault, "reply_code", 0) in (403, 404):
                    sys.exit(f"the broker refuses: {fault.reply_text}")
                link, why = None, f"no connection ({fault!r})"
            pause = 0.2 if len(window) < before else min(pause * 2, 10)
            if window:  # section 1: a nack means try again later
                print(f"{why}: {len(window)} events wait", file=sys.stderr, flush=True)
                time.sleep(pause)
    print(f"{taken} events are taken, {events.left_out} records left out")
    return 1 if events.left_out else 0


if __name__ == "__main__":
    sys.exit(main())
