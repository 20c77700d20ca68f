#!/usr/bin/env python3
"""Receives what the hub delivers, as section 3 of WIRE.md says.

    receive.py FOLDER               with the settings of examples/README.md

FOLDER/received.jsonl gets a line per message of the sequence, FOLDER/aside.jsonl
each message that isn't to be believed or can't be read. It runs until it is
stopped, which it may be anyhow: a line holds its number, so that what is handled
and the last number are written at once.
"""
import base64, hashlib, io, json, os, re, ssl, sys, time
import fastavro, jwt, pika
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pika import exceptions

PATIENCE = float(os.environ.get("PATIENCE", 10))  # seconds that a gap may stay
SCHEMA_URN = re.compile(r"urn:pirogue:schema:([a-z][a-z0-9.]*):([1-9][0-9]*)(?::([0-9a-f]{32}))?")
JWS = jwt.PyJWS(algorithms=["EdDSA"])
JWS.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())  # RFC 9864's name of it


def setting(name):
    return os.environ.get(name) or sys.exit(f"set {name}: see examples/README.md")


BROKER, MEMBER, HUB = setting("BROKER"), setting("MEMBER"), setting("HUB")


class Forged(Exception):
    """Not from the hub, or not for us: its number means nothing."""


class Unknown(Exception):
    """By a key that isn't known: it may be a new one, so it waits."""


class Unusable(Exception):
    """From the hub, and so its number is used up; but it can't be used."""


def need(condition, why, kind=Forged):
    if not condition:
        raise kind(why)


def once(pairs):
    need(len(dict(pairs)) == len(pairs), "a key stands twice in the JWS header")
    return dict(pairs)


def base64url(text):
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(octets).rstrip(b"=") == text.encode(), "base64url isn't canonical")
    return octets


# ---- section 4: the keys


def keys_of(path):
    with open(path, encoding="utf-8") as file:
        return {key["kid"]: key for key in json.load(file)["keys"]}


class Keys:
    def __init__(self):
        self.hub, self.members, folder = keys_of(setting("HUB_KEYS")), {}, setting("MEMBER_KEYS")
        for name in os.listdir(folder):
            if name.endswith(".jwks.json"):
                self.members.update(keys_of(os.path.join(folder, name)))


# ---- sections 1 and 3: what a recipient checks


def header_of(jws):
    """The protected header of a detached JWS, strictly."""
    need(re.fullmatch(r"[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+", jws), "the JWS isn't detached")
    protected, _, signature = jws.split(".")
    base64url(signature)
    header = json.loads(base64url(protected).decode(), object_pairs_hook=once)
    need(type(header) is dict and header.get("alg") in ("EdDSA", "Ed25519"), "alg isn't EdDSA")
    need(header.get("b64") is False and header.get("crit") == ["b64"], "b64 or crit isn't as it has to be")
    ce, kid = header.get("ce"), header.get("kid")
    need(type(ce) is dict and type(kid) is str, "ce or kid is missing")
    need(all(type(value) is str and value for value in ce.values()), "a value in ce isn't a text")
    return header


def verify(jws, body, key, kind=Forged):
    try:
        public = key.get("public") or jwt.algorithms.OKPAlgorithm.from_jwk(json.dumps(key))
        key["public"] = public
        JWS.decode_complete(jws, public, algorithms=["EdDSA", "Ed25519"], detached_payload=body)
    except (jwt.PyJWTError, ValueError):
        raise kind("the signature isn't of this header and body by that key") from None


def check(properties, body, keys):
    """Returns the attributes that the hub signed; raises Forged or Unknown."""
    prefix, headers = "cloudEvents_", properties.headers or {}
    attributes = {name[len(prefix):]: value for name, value in headers.items() if name.startswith(prefix)}  # fmt: skip
    need(all(type(value) is str and value for value in attributes.values()), "a header isn't a text")
    header = header_of(attributes.pop("signature", ""))
    attributes.pop("originsignature", None)
    kid, ce = header["kid"], header["ce"]
    need(kid not in keys.members, "the key is a member's")
    need(kid in keys.hub, f"the key {kid} isn't known", Unknown)
    key = keys.hub[kid]
    need(key.get("pirogue_use") == "delivery" and not key.get("revoked"), "the key isn't for deliveries")
    need(header.get("aud") == MEMBER and ce.get("recipient") == MEMBER, "it is for another recipient")
    verify(headers[prefix + "signature"], body, key)
    attributes["datacontenttype"] = properties.content_type
    need(attributes == ce, "a header differs from what is signed")
    need((properties.message_id, properties.type) == (ce.get("id"), ce.get("type")), "a property differs")
    need(ce.get("specversion") == "1.0" and ce["datacontenttype"] == "application/avro", "not an event of ours")
    need(re.fullmatch(r"[1-9][0-9]{0,9}", ce.get("epoch", "")), "no epoch")
    need(re.fullmatch(r"[0-9]{20}", ce.get("sequence", "")) and int(ce["sequence"]) > 0, "no sequence")
    need(re.fullmatch(r"/[a-z][a-z0-9-]*/[a-z][a-z0-9-]*", ce.get("source", "")), "no source")
    of_hub = ce["source"].startswith("/hub/")
    need(not of_hub or ce["source"] == f"/hub/{HUB}", "it is of another hub")
    need(ce.get("type", "").startswith("nc.hub.") == of_hub, "only the hub has types nc.hub")
    need(all((name in ce) != of_hub for name in ("subject", "agreement")), "subject or agreement")
    return ce


def check_origin(headers, ce, body, keys):
    """The publisher's own signature, where the hub carries it along."""
    jws = headers.get("cloudEvents_originsignature")
    need((jws is None) == ("origin" not in ce), "origin without originsignature, or the reverse", Unusable)
    if jws is None:
        return
    digest = base64.urlsafe_b64encode(hashlib.sha256(jws.encode()).digest()).rstrip(b"=").decode()
    need(digest == ce["origin"], "originsignature isn't the one that the hub means", Unusable)
    try:
        header = header_of(jws)
    except (Forged, ValueError) as why:
        raise Unusable(f"originsignature: {why}") from None
    key = keys.members.get(header["kid"], {})
    is_providers = key.get("pirogue_member") == ce["source"].split("/")[1] and not key.get("revoked")
    need(is_providers and key.get("pirogue_use") == "event", "originsignature isn't by the provider", Unusable)
    verify(jws, body, key, Unusable)
    same = all(header["ce"].get(name) == ce[name] for name in ("source", "type", "id"))
    need(same, "originsignature is of another event", Unusable)


class Box:
    """What was received: the last number, the hub's schemas, the two files."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.epoch, self.sequence, self.schemas, whole = 1, 0, {}, 0
        self.file, self.aside_file = (open(os.path.join(folder, name), "a+b") for name in ("received.jsonl", "aside.jsonl"))  # fmt: skip
        self.file.seek(0)
        for line in self.file:
            if line.endswith(b"\n"):  # else the end of a line that was being written
                whole, record = whole + len(line), json.loads(line)
                self.epoch, self.sequence = record["epoch"], record["sequence"]
                self.learn(record)
        self.file.truncate(whole)
        self.lines, self.asides = [], []

    def turn(self, number):
        """The sequence rule: -1 handled before, 0 the next, 1 too early."""
        next_one = self.sequence + 1 if number[0] == self.epoch else 1
        return -1 if number[0] < self.epoch or number[1] < next_one else int(number[1] > next_one)

    def learn(self, record):
        """A schema that the hub publishes, before its first use."""
        if record["type"] != "nc.hub.schema.published" or "data" not in record:
            return
        reference, text = record["data"]["reference"], record["data"]["schema"]
        urn = SCHEMA_URN.fullmatch(reference)
        is_it = urn and urn[3] in (None, hashlib.sha256(text.encode()).hexdigest()[:32])
        need(is_it, "the published schema isn't the one of its reference", Unusable)
        self.add(reference, text)

    def add(self, reference, text):
        schema = json.loads(text)
        crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
        self.schemas[reference] = fastavro.parse_schema(schema), b"\xc3\x01" + crc

    def read(self, ce, body):
        """The body as JSON, with the schema that dataschema names."""
        urn = SCHEMA_URN.fullmatch(ce.get("dataschema", ""))
        need(urn and urn[1] == ce["type"], "dataschema isn't of this type", Unusable)
        if urn[0] not in self.schemas:
            path = os.path.join(setting("SCHEMAS"), urn[1], urn[2] + ".json")
            need(not urn[3] and os.path.exists(path), "the schema isn't known", Unusable)
            with open(path, encoding="utf-8") as file:
                self.add(urn[0], file.read())
        schema, prefix = self.schemas[urn[0]]
        need(body.startswith(prefix), "the body isn't of that schema", Unusable)
        datum = io.BytesIO(body[len(prefix):])  # fmt: skip
        try:
            data = fastavro.schemaless_reader(datum, schema)
        except Exception:
            raise Unusable("the body can't be read") from None
        need(not datum.read(1), "the body goes on after its end", Unusable)
        return data

    def aside(self, why, headers, body):
        print(f"set aside: {why}", file=sys.stderr, flush=True)
        item = {"why": why, "headers": {k: str(v) for k, v in headers.items()}, "body": base64.b64encode(body).decode()}
        self.asides.append(item)

    def handle(self, ce, properties, body, keys):
        record = {"epoch": int(ce["epoch"]), "sequence": int(ce["sequence"])}
        record |= {name: ce.get(name) for name in ("id", "source", "type", "subject", "time", "agreement")}
        try:
            check_origin(properties.headers, ce, body, keys)
            data = self.read(ce, body)
            self.learn(record | {"data": data})
            record["data"] = data
        except Unusable as why:  # its number is used up all the same
            record["aside"] = str(why)
            self.aside(str(why), properties.headers, body)
        self.lines.append(record)
        self.epoch, self.sequence = record["epoch"], record["sequence"]

    def save(self):
        """Durable, before anything is acknowledged."""
        for file, items in ((self.aside_file, self.asides), (self.file, self.lines)):
            if items:
                file.write(b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items))
                file.flush()
                os.fsync(file.fileno())
                items.clear()


def receive(connection, box):
    """Consumes until a gap, or a message by an unknown key, has stayed too long."""
    keys, channel, waiting, unknown, done, since = Keys(), connection.channel(), {}, 0, [], None
    channel.basic_qos(prefetch_count=1000)
    for method, properties, body in channel.consume("pirogue.to." + MEMBER, inactivity_timeout=0.02):
        if method:
            try:
                ce = check(properties, body, keys)
                number = int(ce["epoch"]), int(ce["sequence"])
                if number in waiting:  # the same once more
                    done.append(method.delivery_tag)
                else:
                    waiting[number] = method.delivery_tag, ce, properties, body
            except Unknown as why:
                print(f"{why}: it waits", file=sys.stderr, flush=True)
                unknown += 1
            except (Forged, ValueError, RecursionError) as why:
                why = why if isinstance(why, Forged) else "the JWS can't be read"
                box.aside(str(why), properties.headers or {}, body)
                done.append(method.delivery_tag)
            for number in sorted(waiting):
                if box.turn(number) <= 0:
                    tag, *message = waiting.pop(number)
                    if box.turn(number) == 0:
                        box.handle(*message, keys)
                    done.append(tag)
        since = (since or time.monotonic()) if waiting or unknown else None
        is_over = since is not None and time.monotonic() - since > PATIENCE
        # What has come is written once no more comes for a moment: a flush for many.
        if done and (not method or len(done) >= 250 or is_over):
            box.save()
            if waiting or unknown:  # those stay unacknowledged
                for tag in done:
                    channel.basic_ack(tag)
            else:
                channel.basic_ack(max(done), multiple=True)
            done = []
        if is_over:
            if waiting:
                print(f"a gap stays after {box.epoch}/{box.sequence}: ask the hub's operator for a replay", file=sys.stderr, flush=True)  # fmt: skip
            break
    channel.close()  # what is unacknowledged comes again


def connect(parameters):
    try:
        return pika.BlockingConnection(parameters)
    except OSError as fault:  # of TLS, or of the name
        raise exceptions.AMQPConnectionError(repr(fault)) from None


def main():
    box, parameters, pause = Box(sys.argv[1]), pika.URLParameters(BROKER), 0.2
    if BROKER.startswith("amqps:"):
        context = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    while True:
        try:
            with connect(parameters) as connection:
                pause = 0.2
                while True:
                    receive(connection, box)
        except (exceptions.ProbableAuthenticationError, exceptions.ProbableAccessDeniedError) as fault:
            sys.exit(f"the broker refuses {MEMBER}: {fault!r}; check BROKER")
        except exceptions.AMQPError as fault:
            if getattr(fault, "reply_code", 0) in (403, 404):
                sys.exit(f"the broker refuses: {fault.reply_text}")
            print(f"no connection ({fault!r}): again in {pause} s", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 10)


if __name__ == "__main__":
    main()
