#!/usr/bin/env python3
"""Tests of verify_demo.py itself: a small folder that holds, then each way in
which one may not. A verifier that can't fail verifies nothing.

    python3 tests/verify_demo_test.py [DIR]

With DIR, the folder of `pirogue demo --once --data DIR`, copies of it are
spoilt too, each in one way."""

import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import verify_demo as v  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

PERSON = "nc.employment.jobseeker.registered"
OFFER = "nc.employment.offer.published"
PUBLISHED, REJECTED = v.PUBLISHED, v.REJECTED


def record(name, *fields):
    return {"type": "record", "name": name, "fields": list(fields)}


def text_field(name, **more):
    return {"name": name, "type": "string", **more}


NAMES = {"name": "given_names", "type": {"type": "array", "items": "string"}, "pii": "identity"}
USAGE = {"name": "preferred_username", "type": ["null", "string"], "pii": "identity"}
FAMILY = text_field("family_name", pii="identity")
SCHEMAS = {
    PERSON: record(PERSON, {"name": "person", "type": "nc.person.Person"}, text_field("status")),
    OFFER: {**record(OFFER, text_field("title")), "subjects": {"offer": {"personal": False}}},
    PUBLISHED: record(PUBLISHED, text_field("reference"), text_field("schema")),
    REJECTED: record(REJECTED, text_field("reason"), text_field("detail")),
}
COMMON = {"nc.person.Person": record("nc.person.Person", NAMES, FAMILY, USAGE)}
PROJECTED = record(PERSON, {"name": "person", "type": record("nc.person.Person", FAMILY)}, text_field("status"))
AGREEMENT = f"""id = "emploi"
version = 1
provider = "province-sud"
recipient = "gouvernement"

[[grant]]
type = "{PERSON}"
versions = [1]
fields = ["person.family_name", "status"]

[[grant]]
type = "{OFFER}"
versions = [1]
fields = ["*"]
subject = "publisher"
"""


class Key:
    def __init__(self, seed, use, member):
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        form = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.raw = self.private.public_key().public_bytes(*form)
        x = v.b64url(self.raw)
        text = '{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x
        self.kid = v.b64url(hashlib.sha256(text.encode()).digest())
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig"}
        self.jwk |= {"pirogue_use": use, "pirogue_member": member}

    def jws(self, aud, ce, body):
        header = {"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": self.kid, "aud": aud, "ce": ce}
        protected = v.b64url(json.dumps(header).encode())
        return f"{protected}..{v.b64url(self.private.sign(protected.encode() + b'.' + body))}"

    def note(self, name, text):
        start = hashlib.sha256(name.encode() + b"\n\x01" + self.raw).digest()[:4]
        return f"— {name} {base64.b64encode(start + self.private.sign(text.encode())).decode()}\n"


HUB = Key(1, "delivery", "hub")
SUD, SUD_PAPER = Key(2, "event", "province-sud"), Key(3, "agreement", "province-sud")
GOV, GOV_PAPER = Key(4, "event", "gouvernement"), Key(5, "agreement", "gouvernement")


def number(n):
    n, out = (n << 1) ^ (n >> 63), b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def string(text):
    return number(len(text.encode())) + text.encode()


def body(schema, *parts):
    return b"\xc3\x01" + schema.fingerprint + b"".join(parts)


ROW = {"id": "0" * 32, "numero": "DE-2019-000001", "dateNaissance": "1950", "nom": " Poithéa", "prenoms": "Élie"}
ROW |= {"nomUsage": "N’Godré", "telephone": "75.12.34", "courriel": "elie.p@example.org", "adresse": None}


class Folder:
    """A demo's folder: two schemas, a jobseeker and an offer for gouvernement; a
    notice of each reason for province-sud."""

    def __init__(self, root, family="Poithéa", extra=b"", projected=PROJECTED, notes=None, agreement=AGREEMENT, **more):
        self.root, self.lines, self.records = root, {}, {}
        self.schemas = root / "schemas"
        for name, schema in SCHEMAS.items():
            self.write(f"schemas/{name}/1.avsc", json.dumps(schema))
        for name, schema in COMMON.items():
            self.write(f"schemas/common/{name}.avsc", json.dumps(schema))
        known = v.Schemas(self.schemas)
        self.write("hub/hub.toml", 'name = "nc"\n')
        self.write("hub/hub.jwks.json", json.dumps({"keys": [HUB.jwk]}))
        self.write("hub/members/province-sud.jwks.json", json.dumps({"keys": [SUD.jwk, SUD_PAPER.jwk]}))
        self.write("hub/members/gouvernement.jwks.json", json.dumps({"keys": [GOV.jwk, GOV_PAPER.jwk]}))
        if notes is None:
            notes = SUD_PAPER.note("province-sud", agreement) + GOV_PAPER.note("gouvernement", agreement)
        self.write("hub/agreements/emploi.1.note", agreement + "\n" + notes)
        self.write("sent.jsonl", json.dumps(ROW) + "\n")

        text = json.dumps(projected)
        reference = f"urn:pirogue:schema:{PERSON}:1:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        self.publish(1, known, reference, text)
        agreed = {"agreement": "emploi:1", "source": "/province-sud/boost"}
        person = body(v.Schema(text), string(family), string("active"), extra)
        data = {"person": {"family_name": family}, "status": "active"}
        about = {"subject": "person/~abc", "dataschema": reference, **agreed, **more}
        self.add(2, PERSON, person, data, **about)
        whole = f"urn:pirogue:schema:{OFFER}:1"
        self.publish(3, known, whole, json.dumps(SCHEMAS[OFFER]))
        offer = body(known.get(OFFER, 1), string("Cuisinier"))
        theirs = {
            "specversion": "1.0",
            "id": "e4",
            "source": "/province-sud/boost",
            "type": OFFER,
            "subject": "offer/1",
            "time": "2026-02-03T00:00:00Z",
            "datacontenttype": "application/avro",
            "dataschema": whole,
        }
        self.offer(theirs, offer, agreed)
        for n, reason in enumerate(v.REASONS, 1):
            notice = {"reason": reason, "detail": "so it is"}
            raw = body(known.get(REJECTED, 1), string(reason), string("so it is"))
            self.add(n, REJECTED, raw, notice, to="province-sud", **of_the_hub(REJECTED))

    def publish(self, n, known, reference, text):
        raw = body(known.get(PUBLISHED, 1), string(reference), string(text))
        self.add(n, PUBLISHED, raw, {"reference": reference, "schema": text}, **of_the_hub(PUBLISHED))

    def offer(self, theirs, raw, agreed, aud="nc"):
        self.lines.pop(("gouvernement", OFFER), None)
        self.records.pop(("gouvernement", OFFER), None)
        origin = SUD.jws(aud, theirs, raw)
        digest = v.b64url(hashlib.sha256(origin.encode()).digest())
        named = {"subject": "offer/1", "dataschema": theirs["dataschema"], "origin": digest, **agreed}
        self.add(4, OFFER, raw, {"title": "Cuisinier"}, originsignature=origin, **named)

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def add(self, n, event_type, raw, data, key=HUB, aud=None, to="gouvernement", originsignature=None, **more):
        ce = {
            "specversion": "1.0",
            "id": f"e{n}",
            "type": event_type,
            "time": "2026-02-03T00:00:00Z",
            "datacontenttype": "application/avro",
            "recipient": to,
            "epoch": "1",
            "sequence": f"{n:020}",
            **more,
        }
        headers = {f"cloudEvents_{k}": value for k, value in ce.items() if k != "datacontenttype"}
        headers["cloudEvents_signature"] = key.jws(aud or to, ce, raw)
        if originsignature:
            headers["cloudEvents_originsignature"] = originsignature
        properties = {
            "content_type": "application/avro",
            "delivery_mode": 2,
            "message_id": ce["id"],
            "type": event_type,
            "app_id": "hub",
            "user_id": "hub",
        }
        line = {"properties": properties, "headers": headers, "body": base64.b64encode(raw).decode()}
        self.lines.setdefault((to, event_type), []).append(line)
        record = {name: ce.get(name) for name in ("id", "source", "type", "subject", "time", "agreement")}
        record |= {"sequence": n, "data": data}
        self.records.setdefault((to, event_type), []).append(record)

    def run(self, *more):
        for lines, ending in [(self.lines, ".raw.jsonl"), (self.records, ".jsonl")]:
            for (member, event_type), values in lines.items():
                text = "".join(json.dumps(value) + "\n" for value in values)
                self.write(f"{member}/received/{event_type}{ending}", text)
        return verified(self.root, "--schemas", str(self.schemas), *more)


def of_the_hub(event_type):
    return {"source": "/hub/nc", "dataschema": f"urn:pirogue:schema:{event_type}:1"}


def verified(folder, *more):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = v.main([str(folder), *more])
    return status, out.getvalue()


class VerifierTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = Path(self.temporary.name)

    def folder(self, **how):
        self.temporary.cleanup()
        return Folder(self.root, **how)

    def fails(self, folder, phrase, *more):
        status, out = folder.run(*more)
        self.assertEqual(status, 1, out)
        self.assertIn(phrase, out)

    def test_a_good_folder_holds(self):
        status, out = self.folder().run()
        self.assertEqual(status, 0, out)
        for line in ["4  signatures of the hub", "1  signatures of publishers", "12  signatures of the hub"]:
            self.assertIn(line, out)
        status, out = self.folder().run("--recipient", "gouvernement")
        self.assertEqual(status, 0, out)
        self.assertNotIn("province-sud", out)

    def test_a_folder_that_isnt_a_demos_is_said_so(self):
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertEqual(v.main([str(self.root)]), 2)
        self.assertIn("isn't there", err.getvalue())

    def test_what_was_sent_is_missed_unless_it_is_done_without(self):
        folder = self.folder()
        (self.root / "sent.jsonl").unlink()
        status, out = folder.run()
        self.assertEqual(status, 2)
        self.assertIn("sent.jsonl isn't there", out)
        self.assertEqual(folder.run("--without-sent")[0], 0)
        folder.write("sent.jsonl", '{"type": "something else"}\n')
        self.fails(folder, "not a jobseeker as the Boost-like server serves it")

    def test_an_inbox_that_isnt_there_and_a_recipient_that_isnt_a_member(self):
        folder = self.folder()
        folder.run()
        for path in (self.root / "province-sud/received").iterdir():
            path.unlink()
        status, out = verified(self.root, "--schemas", str(folder.schemas))
        self.assertEqual(status, 1)
        self.assertIn("no raw message was kept", out)
        self.fails(self.folder(), "cafat isn't a member", "--recipient", "cafat")

    def test_the_published_vectors_of_crc_64_avro(self):
        for name, crc in [("string", "8f014872634503c7"), ("int", "7275d51a3f395c8f"), ("null", "63dd24e7cc258f8a")]:
            self.assertEqual(v.Schema(f'{{"type":"{name}"}}').fingerprint[::-1].hex(), crc)

    def person(self, folder):
        return folder.lines["gouvernement", PERSON][0]

    def test_a_changed_body(self):
        folder = self.folder()
        line = self.person(folder)
        raw = bytearray(base64.b64decode(line["body"]))
        raw[-1] ^= 1
        line["body"] = base64.b64encode(raw).decode()
        self.fails(folder, "isn't of these bytes")

    def test_a_changed_header(self):
        folder = self.folder()
        self.person(folder)["headers"]["cloudEvents_subject"] = "person/~abd"
        self.fails(folder, "cloudEvents_subject isn't what was signed")

    def test_a_header_that_wasnt_signed(self):
        folder = self.folder()
        self.person(folder)["headers"]["cloudEvents_priority"] = "1"
        self.fails(folder, "cloudEvents_priority isn't what was signed")

    def test_an_attribute_without_its_header(self):
        folder = self.folder()
        del self.person(folder)["headers"]["cloudEvents_time"]
        self.fails(folder, "time was signed and isn't in the headers")

    def test_a_changed_property(self):
        changes = [("message_id", "x"), ("type", OFFER), ("user_id", "gouvernement"), ("delivery_mode", 1)]
        for name, value in [*changes, ("correlation_id", "x")]:
            folder = self.folder()
            self.person(folder)["properties"][name] = value
            self.fails(folder, f"the property {name}")

    def test_a_line_of_another_form(self):
        folder = self.folder()
        self.person(folder)["body_text"] = "Poithéa"
        self.fails(folder, "not properties, headers and body")

    def test_an_attribute_that_no_delivery_has(self):
        self.fails(self.folder(nickname="x"), "other attributes than those of WIRE.md")

    def test_a_gap(self):
        folder = self.folder()
        del folder.lines["gouvernement", PERSON]
        self.fails(folder, "sequence 3 where 2 comes next")

    def test_a_last_message_that_is_missing(self):
        folder = self.folder()
        folder.lines["gouvernement", OFFER] = []
        self.fails(folder, "1 records were handled and 0 messages hold")

    def test_a_repeat(self):
        folder = self.folder()
        folder.lines["gouvernement", PERSON] *= 2
        self.fails(folder, "doesn't rise")

    def test_another_epoch_and_another_audience(self):
        folder = self.folder()
        folder.add(5, PUBLISHED, b"", {}, **{**of_the_hub(PUBLISHED), "epoch": "2"})
        self.fails(folder, "epoch that isn't 1")
        folder = self.folder()
        folder.add(5, PUBLISHED, b"", {}, aud="cafat", **of_the_hub(PUBLISHED))
        self.fails(folder, "aud or recipient is another's")

    def test_a_delivery_signed_by_a_member(self):
        self.fails(self.folder(key=SUD), "isn't a delivery key of the hub")

    def test_a_member_that_has_the_hubs_key(self):
        folder = self.folder()
        stolen = {**HUB.jwk, "pirogue_use": "event", "pirogue_member": "cafat"}
        folder.write("hub/members/cafat.jwks.json", json.dumps({"keys": [stolen]}))
        self.fails(folder, "the kid is a member's")

    def test_a_key_whose_kid_isnt_its_thumbprint(self):
        folder = self.folder()
        folder.write("hub/hub.jwks.json", json.dumps({"keys": [{**HUB.jwk, "kid": SUD.kid}]}))
        self.fails(folder, "isn't the key's thumbprint")

    def test_a_key_in_anothers_file(self):
        folder = self.folder()
        folder.write("hub/members/gouvernement.jwks.json", json.dumps({"keys": [GOV.jwk, SUD_PAPER.jwk]}))
        self.fails(folder, "a key that isn't gouvernement's")

    def test_a_datum_that_goes_on(self):
        self.fails(self.folder(extra=b"\0"), "goes on after its datum")

    def test_a_projected_schema_that_lets_a_field_through(self):
        person = record("nc.person.Person", FAMILY, USAGE)
        projected = record(PERSON, {"name": "person", "type": person}, text_field("status"))
        folder = self.folder(projected=projected, extra=b"\0")
        self.fails(folder, "person.preferred_username, which isn't granted")

    def test_a_schema_that_wasnt_published(self):
        for left in (1, 0):
            folder = self.folder()
            del folder.lines["gouvernement", PUBLISHED][left]
            self.fails(folder, "wasn't published before")

    def test_a_whole_schema_that_isnt_the_one_of_its_version(self):
        folder = self.folder()
        other = json.dumps(record(OFFER, text_field("title"), text_field("salary")))
        folder.lines["gouvernement", PUBLISHED].pop()
        folder.publish(3, v.Schemas(folder.schemas), f"urn:pirogue:schema:{OFFER}:1", other)
        self.fails(folder, "isn't that of its type and version")

    def test_a_whole_body_under_an_agreement_that_grants_some_fields(self):
        cut = AGREEMENT.replace('fields = ["*"]', 'fields = ["title"]')
        self.fails(self.folder(agreement=cut), "a whole body where the agreement grants some fields")

    def test_a_subject_that_is_the_publishers(self):
        self.fails(self.folder(subject="person/4711"), "the subject isn't a pseudonym")
        # A kind that the schema doesn't name may be a person's.
        self.fails(self.folder(subject="citizen/4711"), "the subject isn't a pseudonym")

    def test_a_time_that_says_more_than_the_second(self):
        self.fails(self.folder(time="2026-02-03T00:00:00.123Z"), "isn't cut to the second")

    def test_an_origin_that_isnt_the_publishers(self):
        folder = self.folder()
        headers = folder.lines["gouvernement", OFFER][0]["headers"]
        headers["cloudEvents_originsignature"] = GOV.jws("nc", {"id": "e3"}, b"")
        self.fails(folder, "isn't the digest of originsignature")

    def test_an_origin_that_was_signed_of_something_else(self):
        agreed = {"agreement": "emploi:1", "source": "/province-sud/boost"}
        for change, aud, phrase in [
            ({}, "other", "the publisher signed for another hub"),
            ({"id": "e9"}, "nc", "id isn't the publisher's"),
            ({"subject": "offer/2"}, "nc", "subject isn't the publisher's"),
        ]:
            folder = self.folder()
            [line] = folder.lines["gouvernement", OFFER]
            theirs = v.Jws(line["headers"]["cloudEvents_originsignature"]).ce | change
            folder.offer(theirs, base64.b64decode(line["body"]), agreed, aud)
            self.fails(folder, phrase)

    def test_an_agreement_without_the_recipients_signature(self):
        folder = self.folder(notes=SUD_PAPER.note("province-sud", AGREEMENT))
        self.fails(folder, "no good signature of gouvernement")

    def test_an_agreement_that_grants_less_than_was_delivered(self):
        less = AGREEMENT.replace('"person.family_name", ', "")
        self.fails(self.folder(agreement=less), "the projected schema has person, which isn't granted")
        # And one whose grants were changed after it was signed.
        folder = self.folder()
        note = (self.root / "hub/agreements/emploi.1.note").read_text("utf-8")
        folder.write("hub/agreements/emploi.1.note", note.replace('"status"]', '"status", "contact"]'))
        self.fails(folder, "no good signature of province-sud")

    def test_a_record_that_isnt_what_its_message_says(self):
        folder = self.folder()
        folder.records["gouvernement", PERSON][0]["data"]["person"]["birthdate"] = "1950"
        self.fails(folder, "the record isn't what its message says")
        folder = self.folder()
        folder.records["gouvernement", "nc.made.up.type"] = [{}]
        self.fails(folder, "1 records were handled and 0 messages hold")

    def test_a_reason_of_which_there_is_no_notice(self):
        folder = self.folder()
        for lines in (folder.lines, folder.records):
            lines["province-sud", REJECTED].pop()
        self.fails(folder, "0 notices of id-reused where the demo earns 1")

    def test_a_jobseeker_that_never_arrived(self):
        folder = self.folder()
        folder.write("sent.jsonl", f"{json.dumps(ROW)}\n" * 2)
        self.fails(folder, "2 jobseekers were served and 1 arrived")
        self.assertEqual(folder.run("--stopped")[0], 0)
        folder.write("sent.jsonl", "")
        self.fails(folder, "0 jobseekers were served and 1 arrived", "--stopped")

    def test_another_jobseeker_than_the_one_served(self):
        self.fails(self.folder(family="Boaré"), "another person.family_name arrived")

    def test_a_withheld_value_in_a_granted_field(self):
        status, out = self.folder().run()
        self.assertEqual(status, 0, out)
        self.assertIn("6  withheld values looked for", out)
        for leak in ["N’Godré", "+687751234", "elie.p@example.org", "0" * 32]:
            folder = self.folder(family=f"Poithéa {leak}")
            self.fails(folder, "no grant lets through is in a message")

    def test_a_withheld_value_in_a_header(self):
        self.fails(self.folder(id="DE-2019-000001"), "no grant lets through is in a message")

    def test_a_birth_date_as_it_is_harmonised(self):
        for written, harmonised in [
            ("1950-07-00", "1950-07"),
            ("1950-00-00", "1950"),
            ("14/07/1950", "1950-07-14"),
            ("1950", "1950"),
        ]:
            self.assertEqual(v.identity({**ROW, "dateNaissance": written})["birthdate"], harmonised)

    def test_strict_verification_refuses_small_order_and_a_large_s(self):
        for raw in ["01" + "00" * 31, "00" * 32, "ee" + "ff" * 30 + "7f", "ff" * 32]:
            with self.assertRaises(v.Fault):
                v.strict_point(bytes.fromhex(raw))
        key = {"key": SUD.private.public_key()}
        good = SUD.private.sign(b"m")
        v.verify(key, b"m", good)
        large = int.from_bytes(good[32:], "little") + v.L
        with self.assertRaises(v.Fault):
            v.verify(key, b"m", good[:32] + large.to_bytes(32, "little"))


REAL = os.environ.get("PIROGUE_DEMO_FOLDER")
RECEIVED = "gouvernement/received/"


@unittest.skipUnless(REAL, "no folder of a demo was given")
class RealFolderTest(unittest.TestCase):
    """Spoils copies of the folder of a real demo, each in one way."""

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = Path(self.temporary.name) / "demo"
        for part in ["sent.jsonl", "hub/hub.toml", "hub/hub.jwks.json"]:
            (self.root / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(REAL) / part, self.root / part)
        for part in ["hub/members", "hub/agreements", RECEIVED, "province-sud/received"]:
            shutil.copytree(Path(REAL) / part, self.root / part)

    def spoil(self, path, change):
        """Gives the lines of a file to `change`, which changes the list."""
        path = self.root / path
        lines = path.read_text("utf-8").splitlines(keepends=True)
        change(lines)
        path.write_text("".join(lines), "utf-8")

    def fails(self, *phrases):
        status, out = verified(self.root)
        self.assertEqual(status, 1, out)
        for phrase in phrases:
            self.assertIn(phrase, out)

    def test_as_it_is_it_holds(self):
        status, out = verified(self.root)
        self.assertEqual(status, 0, out)

    def test_one_bit_of_a_body(self):
        for event_type in (PERSON, OFFER):
            for at in (0, 2, 10, -1):

                def change(lines):
                    line = json.loads(lines[7])
                    raw = bytearray(base64.b64decode(line["body"]))
                    raw[at] ^= 1
                    line["body"] = base64.b64encode(raw).decode()
                    lines[7] = json.dumps(line) + "\n"

                path = f"{RECEIVED}{event_type}.raw.jsonl"
                whole = (self.root / path).read_text("utf-8")
                self.spoil(path, change)
                self.fails(f"{event_type}.raw.jsonl:8: the signature isn't of these bytes")
                (self.root / path).write_text(whole, "utf-8")

    def test_each_header_and_property_changed(self):
        path = f"{RECEIVED}{OFFER}.raw.jsonl"
        whole = (self.root / path).read_text("utf-8")
        line = json.loads(whole.splitlines()[0])
        for part in ("headers", "properties"):
            for name, value in line[part].items():

                def change(lines):
                    changed = json.loads(lines[0])
                    changed[part][name] = value + 1 if isinstance(value, int) else value + "A"
                    lines[0] = json.dumps(changed) + "\n"

                self.spoil(path, change)
                with self.subTest(name):
                    self.fails(f"{OFFER}.raw.jsonl:1: ")
                (self.root / path).write_text(whole, "utf-8")

    def test_two_messages_swapped(self):
        def change(lines):
            lines[4], lines[5] = lines[5], lines[4]

        self.spoil(f"{RECEIVED}{PERSON}.raw.jsonl", change)
        self.fails("a sequence that doesn't rise in its file")

    def test_two_records_swapped(self):
        def change(lines):
            lines[4], lines[5] = lines[5], lines[4]

        self.spoil(f"{RECEIVED}{PERSON}.jsonl", change)
        self.fails(f"{PERSON}.jsonl:5: the record isn't what its message says")

    def test_a_message_removed(self):
        self.spoil(f"{RECEIVED}{PERSON}.raw.jsonl", lambda lines: lines.pop(9))
        self.fails("comes next", "records were handled and", "were served and")

    def test_the_last_removed_with_its_record(self):
        for ending in (".jsonl", ".raw.jsonl"):
            self.spoil(f"{RECEIVED}{PERSON}{ending}", lambda lines: lines.pop())
        self.fails("were served and")

    def test_a_notice_removed(self):
        for ending in (".jsonl", ".raw.jsonl"):
            self.spoil(f"province-sud/received/{REJECTED}{ending}", lambda lines: lines.pop())
        self.fails("0 notices of")

    def test_the_schemas_not_published(self):
        for ending in (".jsonl", ".raw.jsonl"):
            (self.root / f"{RECEIVED}{PUBLISHED}{ending}").unlink()
        self.fails("a schema that wasn't published before")

    def test_a_granted_field_taken_out_of_the_agreement(self):
        [path] = (self.root / "hub/agreements").iterdir()
        for was, now in [('"person.birthdate", ', ""), ('"status"', '"status", "contact"')]:
            whole = path.read_text("utf-8")
            self.assertIn(was, whole)
            path.write_text(whole.replace(was, now), "utf-8")
            self.fails("no good signature of province-sud")
            path.write_text(whole, "utf-8")

    def test_less_granted_by_an_agreement_that_is_signed(self):
        """The demo's members' keys are in its folder: the agreement is signed anew."""
        [path] = (self.root / "hub/agreements").iterdir()
        text = path.read_text("utf-8").rpartition("\n\n")[0] + "\n"
        less = text.replace('"person.birthdate", ', "")
        self.assertNotEqual(less, text)
        notes = ""
        for member in ("province-sud", "gouvernement"):
            pem = (Path(REAL) / member / "keys/agreement.pem").read_bytes()
            key = Key.__new__(Key)
            key.private = serialization.load_pem_private_key(pem, None)
            form = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            key.raw = key.private.public_key().public_bytes(*form)
            notes += key.note(member, less)
        path.write_text(f"{less}\n{notes}", "utf-8")
        self.fails("the projected schema has person.birthdate, which isn't granted")

    def test_another_hubs_key(self):
        path = self.root / "hub/hub.jwks.json"
        keys = json.loads(path.read_text("utf-8"))["keys"]
        keys = [key for key in keys if key["pirogue_use"] != "delivery"] + [HUB.jwk]
        path.write_text(json.dumps({"keys": keys}), "utf-8")
        self.fails("the kid isn't a delivery key of the hub")

    def test_a_value_that_was_withheld_is_found(self):
        """The family name of the first, had it not been granted to anyone."""

        def change(lines):
            rows = [json.loads(line) for line in lines]
            name = next(row["nom"] for row in rows if len(row["nom"].encode()) >= v.SHORTEST)
            # Nobody has it any more, and somebody has it as an address.
            lines[:] = [json.dumps(row | {"nom": row["nom"].replace(name, "X")}) + "\n" for row in rows]
            lines[0] = json.dumps(json.loads(lines[0]) | {"courriel": name}) + "\n"

        self.spoil("sent.jsonl", change)
        self.fails("a value that no grant lets through is in a message")


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        REAL = sys.argv.pop(1)
        RealFolderTest.__unittest_skip__ = False
    unittest.main(verbosity=2)
