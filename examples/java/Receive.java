import com.fasterxml.jackson.core.*;
import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import com.rabbitmq.client.*;
import java.io.*;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;
import javax.net.ssl.*;
import org.apache.avro.*;
import org.apache.avro.generic.*;
import org.apache.avro.io.*;

/**
 * Receives what the hub delivers, as section 3 of WIRE.md says.
 *
 * <pre>java -cp classes:CLASSPATH Receive FOLDER</pre>
 *
 * with the settings and the CLASSPATH of examples/README.md. FOLDER/received.jsonl
 * gets a line per message of the sequence, FOLDER/aside.jsonl each message that
 * isn't to be believed or can't be read. It runs until it is stopped, which it may
 * be anyhow: a line holds its number, so that what is handled and the last number
 * are written at once.
 */
class Receive {
    static final ObjectMapper JSON = new ObjectMapper()
        .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
        .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    static final Pattern SCHEMA_URN =
        Pattern.compile("urn:pirogue:schema:([a-z][a-z0-9.]*):([1-9][0-9]*)(?::([0-9a-f]{32}))?");
    static final String BROKER = setting("BROKER"), MEMBER = setting("MEMBER"), HUB = setting("HUB");
    /** Seconds that a gap may stay. */
    static final double PATIENCE = Double.parseDouble(System.getenv().getOrDefault("PATIENCE", "10"));

    /** Not from the hub, or not for us: its number means nothing. */
    static class Forged extends Exception { Forged(String why) { super(why); } }
    /** By a key that isn't known: it may be a new one, so it waits. */
    static class Unknown extends Exception { Unknown(String why) { super(why); } }
    /** From the hub, and so its number is used up; but it can't be used. */
    static class Unusable extends Exception { Unusable(String why) { super(why); } }

    record Number(int epoch, long sequence) implements Comparable<Number> {
        public int compareTo(Number other) {
            return epoch != other.epoch ? Integer.compare(epoch, other.epoch) : Long.compare(sequence, other.sequence);
        }
    }

    record Held(Delivery message, JsonNode ce) {}

    static String setting(String name) {
        String value = System.getenv(name);
        return value != null && !value.isEmpty() ? value : fail("set " + name + ": see examples/README.md");
    }

    static String fail(String sentence) {
        System.err.println(sentence);
        System.exit(1);
        return null;
    }

    static void need(boolean condition, String why) throws Forged {
        if (!condition) throw new Forged(why);
    }

    static void usable(boolean condition, String why) throws Unusable {
        if (!condition) throw new Unusable(why);
    }

    static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException fault) {
            throw new AssertionError(fault);
        }
    }

    static byte[] base64url(String text) throws Forged {
        try {
            byte[] octets = Base64.getUrlDecoder().decode(text);
            need(Base64.getUrlEncoder().withoutPadding().encodeToString(octets).equals(text), "base64url isn't canonical");
            return octets;
        } catch (IllegalArgumentException fault) {
            throw new Forged("it isn't base64url");
        }
    }

    // ---- section 4: the keys

    static void keysOf(File file, Map<String, JsonNode> keys) throws IOException {
        for (JsonNode key : JSON.readTree(file).get("keys")) keys.put(key.get("kid").asText(), key);
    }

    static class Keys {
        final Map<String, JsonNode> hub = new HashMap<>(), members = new HashMap<>();

        Keys() throws IOException {
            keysOf(new File(setting("HUB_KEYS")), hub);
            for (File file : new File(setting("MEMBER_KEYS")).listFiles((folder, name) -> name.endsWith(".jwks.json")))
                keysOf(file, members);
        }
    }

    // ---- sections 1 and 3: what a recipient checks

    /** The protected header of a detached JWS, strictly. */
    static JsonNode headerOf(String jws) throws Forged {
        need(jws.matches("[A-Za-z0-9_-]+\\.\\.[A-Za-z0-9_-]+"), "the JWS isn't detached");
        String[] parts = jws.split("\\.");
        base64url(parts[2]);
        JsonNode header;
        try {
            var utf8 = StandardCharsets.UTF_8.newDecoder(); // which refuses what isn't UTF-8
            header = JSON.readTree(utf8.decode(ByteBuffer.wrap(base64url(parts[0]))).toString());
        } catch (IOException fault) {
            throw new Forged("the JWS header isn't JSON, or has a key twice");
        }
        String alg = header.path("alg").asText();
        need(alg.equals("EdDSA") || alg.equals("Ed25519"), "alg isn't EdDSA");
        boolean isB64False = header.path("b64").isBoolean() && !header.path("b64").asBoolean();
        need(isB64False && header.path("crit").equals(JSON.createArrayNode().add("b64")), "b64 or crit isn't as it has to be");
        need(header.path("ce").isObject() && header.path("kid").isTextual(), "ce or kid is missing");
        for (JsonNode value : header.get("ce")) need(value.isTextual() && !value.asText().isEmpty(), "a value in ce isn't a text");
        return header;
    }

    static boolean verifies(String jws, byte[] body, JsonNode key) {
        try {
            byte[] x509 = HexFormat.of().parseHex("302a300506032b6570032100");
            byte[] x = base64url(key.get("x").asText()), spki = Arrays.copyOf(x509, x509.length + x.length);
            System.arraycopy(x, 0, spki, x509.length, x.length);
            Signature signature = Signature.getInstance("Ed25519");
            signature.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(spki)));
            signature.update(jws.substring(0, jws.indexOf('.') + 1).getBytes(StandardCharsets.US_ASCII));
            signature.update(body);
            return signature.verify(base64url(jws.substring(jws.lastIndexOf('.') + 1)));
        } catch (GeneralSecurityException | Forged fault) {
            return false;
        }
    }

    /** Returns the attributes that the hub signed. */
    static JsonNode check(Delivery message, Keys keys) throws Forged, Unknown {
        AMQP.BasicProperties properties = message.getProperties();
        ObjectNode attributes = JSON.createObjectNode();
        var headers = properties.getHeaders() == null ? Map.<String, Object>of() : properties.getHeaders();
        for (var header : headers.entrySet()) {
            if (!header.getKey().startsWith("cloudEvents_")) continue;
            need(header.getValue() instanceof LongString && !header.getValue().toString().isEmpty(), "a header isn't a text");
            attributes.put(header.getKey().substring("cloudEvents_".length()), header.getValue().toString());
        }
        String jws = attributes.path("signature").asText();
        JsonNode header = headerOf(jws), ce = header.get("ce");
        String kid = header.get("kid").asText();
        need(!keys.members.containsKey(kid), "the key is a member's");
        JsonNode key = keys.hub.get(kid);
        if (key == null) throw new Unknown("the key " + kid + " isn't known");
        need(key.path("pirogue_use").asText().equals("delivery") && !key.hasNonNull("revoked"), "the key isn't for deliveries");
        boolean isOurs = header.path("aud").asText().equals(MEMBER) && ce.path("recipient").asText().equals(MEMBER);
        need(isOurs, "it is for another recipient");
        need(verifies(jws, message.getBody(), key), "the signature isn't of this header and body by that key");
        attributes.remove(List.of("signature", "originsignature"));
        attributes.put("datacontenttype", properties.getContentType());
        need(attributes.equals(ce), "a header differs from what is signed");
        String id = ce.path("id").asText(), type = ce.path("type").asText(), source = ce.path("source").asText();
        need(id.equals(properties.getMessageId()) && type.equals(properties.getType()), "a property differs");
        boolean isEvent = ce.path("specversion").asText().equals("1.0");
        need(isEvent && ce.get("datacontenttype").asText().equals("application/avro"), "not an event of ours");
        need(ce.path("epoch").asText().matches("[1-9][0-9]{0,8}"), "no epoch");
        need(ce.path("sequence").asText().matches("0[0-9]{19}") && numberOf(ce).sequence() > 0, "no sequence");
        need(source.matches("/[a-z][a-z0-9-]*/[a-z][a-z0-9-]*"), "no source");
        boolean ofHub = source.startsWith("/hub/");
        need(!ofHub || source.equals("/hub/" + HUB), "it is of another hub");
        need(type.startsWith("nc.hub.") == ofHub, "only the hub has types nc.hub");
        need(ce.has("subject") != ofHub && ce.has("agreement") != ofHub, "subject or agreement");
        return ce;
    }

    static Number numberOf(JsonNode ce) throws Forged {
        try {
            return new Number(Integer.parseInt(ce.get("epoch").asText()), Long.parseLong(ce.get("sequence").asText()));
        } catch (NumberFormatException fault) {
            throw new Forged("no sequence");
        }
    }

    /** The publisher's own signature, where the hub carries it along. */
    static void checkOrigin(Delivery message, JsonNode ce, Keys keys) throws Unusable {
        Object carried = message.getProperties().getHeaders().get("cloudEvents_originsignature");
        usable((carried == null) != ce.has("origin"), "origin without originsignature, or the reverse");
        if (carried == null) return;
        String jws = carried.toString();
        String hash = Base64.getUrlEncoder().withoutPadding().encodeToString(sha256(jws));
        usable(hash.equals(ce.get("origin").asText()), "originsignature isn't the one that the hub means");
        JsonNode header;
        try {
            header = headerOf(jws);
        } catch (Forged fault) {
            throw new Unusable("originsignature: " + fault.getMessage());
        }
        JsonNode key = keys.members.get(header.get("kid").asText());
        boolean isProviders = key != null && key.path("pirogue_use").asText().equals("event") && !key.hasNonNull("revoked")
            && key.path("pirogue_member").asText().equals(ce.get("source").asText().split("/")[1]);
        usable(isProviders, "originsignature isn't by the provider");
        usable(verifies(jws, message.getBody(), key), "originsignature isn't of this body by that key");
        for (String name : List.of("source", "type", "id"))
            usable(ce.get(name).equals(header.get("ce").get(name)), "originsignature is of another event");
    }

    /** What was received: the last number, the hub's schemas, the two files. */
    static class Box {
        final Map<String, Schema> schemas = new HashMap<>();
        final Map<String, byte[]> prefixes = new HashMap<>();
        final List<JsonNode> lines = new ArrayList<>(), asides = new ArrayList<>();
        final FileChannel file, asideFile;
        Number last = new Number(1, 0);

        Box(Path folder) throws Exception {
            Files.createDirectories(folder);
            Path path = folder.resolve("received.jsonl");
            var options = Set.of(StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            file = FileChannel.open(path, options);
            asideFile = FileChannel.open(folder.resolve("aside.jsonl"), options);
            asideFile.position(asideFile.size());
            long whole = 0;
            try (var in = new BufferedInputStream(Files.newInputStream(path))) {
                var line = new ByteArrayOutputStream();
                for (int octet = in.read(); octet >= 0; octet = in.read()) {
                    line.write(octet);
                    if (octet != '\n') continue; // else the end of a line that was being written
                    JsonNode record = JSON.readTree(line.toByteArray());
                    last = new Number(record.get("epoch").asInt(), record.get("sequence").asLong());
                    learn(record);
                    whole += line.size();
                    line.reset();
                }
            }
            file.truncate(whole).position(whole);
        }

        /** The sequence rule: negative, handled before; 0, the next; positive, too early. */
        int turn(Number number) {
            long next = number.epoch() == last.epoch() ? last.sequence() + 1 : 1;
            return number.epoch() < last.epoch() ? -1 : Long.compare(number.sequence(), next);
        }

        /** A schema that the hub publishes, before its first use. */
        void learn(JsonNode record) throws Unusable {
            if (!record.get("type").asText().equals("nc.hub.schema.published") || !record.has("data")) return;
            String reference = record.get("data").get("reference").asText(), text = record.get("data").get("schema").asText();
            Matcher urn = SCHEMA_URN.matcher(reference);
            String hash = HexFormat.of().formatHex(sha256(text)).substring(0, 32);
            usable(urn.matches() && (urn.group(3) == null || urn.group(3).equals(hash)), "the published schema isn't the one of its reference");
            add(reference, text);
        }

        void add(String reference, String text) throws Unusable {
            try {
                Schema schema = new Schema.Parser().parse(text);
                byte[] crc = SchemaNormalization.parsingFingerprint("CRC-64-AVRO", schema); // little-endian
                prefixes.put(reference, ByteBuffer.allocate(10).put((byte) 0xC3).put((byte) 0x01).put(crc).array());
                schemas.put(reference, schema);
            } catch (SchemaParseException | NoSuchAlgorithmException fault) {
                throw new Unusable("the schema can't be read");
            }
        }

        /** The body as JSON, with the schema that dataschema names. */
        JsonNode read(JsonNode ce, byte[] body) throws Unusable, IOException {
            Matcher urn = SCHEMA_URN.matcher(ce.path("dataschema").asText());
            usable(urn.matches() && urn.group(1).equals(ce.get("type").asText()), "dataschema isn't of this type");
            if (!schemas.containsKey(urn.group())) {
                Path path = Path.of(setting("SCHEMAS"), urn.group(1), urn.group(2) + ".json");
                usable(urn.group(3) == null && Files.exists(path), "the schema isn't known");
                add(urn.group(), Files.readString(path));
            }
            usable(body.length > 10 && Arrays.equals(body, 0, 10, prefixes.get(urn.group()), 0, 10), "the body isn't of that schema");
            Object datum;
            try {
                BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(body, 10, body.length - 10, null);
                datum = new GenericDatumReader<Object>(schemas.get(urn.group())).read(null, decoder);
                usable(decoder.isEnd(), "the body goes on after its end");
            } catch (IOException | RuntimeException fault) {
                throw new Unusable("the body can't be read");
            }
            return JSON.readTree(datum.toString()); // generic data prints as JSON
        }

        void aside(String why, Delivery message) {
            System.err.println("set aside: " + why);
            ObjectNode headers = JSON.createObjectNode();
            if (message.getProperties().getHeaders() != null)
                message.getProperties().getHeaders().forEach((name, value) -> headers.put(name, String.valueOf(value)));
            asides.add(JSON.createObjectNode().put("why", why).put("body", message.getBody()).set("headers", headers));
        }

        void handle(Delivery message, JsonNode ce, Number number, Keys keys) throws IOException {
            ObjectNode record = JSON.createObjectNode().put("epoch", number.epoch()).put("sequence", number.sequence());
            for (String name : List.of("id", "source", "type", "subject", "time", "agreement")) record.set(name, ce.get(name));
            try {
                checkOrigin(message, ce, keys);
                JsonNode data = read(ce, message.getBody());
                learn(record.deepCopy().set("data", data));
                record.set("data", data);
            } catch (Unusable fault) { // its number is used up all the same
                record.put("aside", fault.getMessage());
                aside(fault.getMessage(), message);
            }
            lines.add(record);
            last = number;
        }

        /** Durable, before anything is acknowledged. */
        void save() {
            try {
                write(asideFile, asides);
                write(file, lines);
            } catch (IOException fault) { // nothing of it is acknowledged
                fail("what was received can't be written: " + fault.getMessage());
            }
        }

        void write(FileChannel to, List<JsonNode> items) throws IOException {
            if (items.isEmpty()) return;
            var text = new ByteArrayOutputStream();
            for (JsonNode item : items) text.writeBytes((JSON.writeValueAsString(item) + "\n").getBytes(StandardCharsets.UTF_8));
            for (ByteBuffer octets = ByteBuffer.wrap(text.toByteArray()); octets.hasRemaining(); ) to.write(octets);
            to.force(false);
            items.clear();
        }
    }

    /** Consumes until a gap, or a message by an unknown key, has stayed too long. */
    static void receive(Connection connection, Box box) throws Exception {
        Keys keys = new Keys();
        Channel channel = connection.createChannel();
        var arrived = new LinkedBlockingQueue<Delivery>();
        channel.basicQos(1000);
        channel.basicConsume("pirogue.to." + MEMBER, false, new DefaultConsumer(channel) {
            @Override public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
                arrived.add(new Delivery(envelope, properties, body));
            }
            @Override public void handleCancel(String tag) throws IOException { channel.abort(); } // the queue is gone
        });
        var waiting = new TreeMap<Number, Held>();
        var done = new ArrayList<Long>();
        boolean isUnknown = false;
        for (long since = 0; ; ) {
            // What has come is written once no more comes for a moment: a flush for many.
            Delivery message = arrived.poll(done.isEmpty() ? 500 : 20, TimeUnit.MILLISECONDS);
            if (message == null && !channel.isOpen()) throw new IOException(String.valueOf(channel.getCloseReason().getMessage()));
            if (message != null) {
                long tag = message.getEnvelope().getDeliveryTag();
                try {
                    JsonNode ce = check(message, keys);
                    if (waiting.putIfAbsent(numberOf(ce), new Held(message, ce)) != null) done.add(tag); // the same once more
                } catch (Unknown fault) {
                    System.err.println(fault.getMessage() + ": it waits");
                    isUnknown = true;
                } catch (Forged fault) {
                    box.aside(fault.getMessage(), message);
                    done.add(tag);
                }
                for (Number number : List.copyOf(waiting.keySet())) {
                    if (box.turn(number) > 0) continue;
                    Held held = waiting.remove(number);
                    if (box.turn(number) == 0) box.handle(held.message(), held.ce(), number, keys);
                    done.add(held.message().getEnvelope().getDeliveryTag());
                }
            }
            since = waiting.isEmpty() && !isUnknown ? 0 : since == 0 ? System.nanoTime() : since;
            boolean isOver = since != 0 && System.nanoTime() - since > PATIENCE * 1e9;
            if (!done.isEmpty() && (message == null || done.size() >= 250 || isOver)) {
                box.save();
                if (!waiting.isEmpty() || isUnknown) for (long tag : done) channel.basicAck(tag, false); // those stay unacknowledged
                else channel.basicAck(Collections.max(done), true);
                done.clear();
            }
            if (isOver) break;
        }
        if (!waiting.isEmpty()) System.err.println("a gap stays after " + box.last.epoch() + "/" + box.last.sequence()
            + ": ask the hub's operator for a replay");
        channel.close(); // what is unacknowledged comes again
    }

    /** A factory of connections to BROKER. With amqps: the authorities in CA_FILE, or the system's. */
    static ConnectionFactory factory() throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(BROKER);
        factory.setAutomaticRecoveryEnabled(false); // a new channel begins with new tags, and new keys
        if (!BROKER.startsWith("amqps:")) return factory;
        KeyStore store = null;
        if (System.getenv("CA_FILE") != null) {
            store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            try (InputStream file = new FileInputStream(System.getenv("CA_FILE"))) {
                for (var ca : CertificateFactory.getInstance("X.509").generateCertificates(file))
                    store.setCertificateEntry("ca" + store.size(), ca);
            }
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        factory.useSslProtocol(context);
        factory.setSocketConfigurator(socket -> { // the certificate has to be the host's
            SSLParameters parameters = ((SSLSocket) socket).getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            ((SSLSocket) socket).setSSLParameters(parameters);
        });
        return factory;
    }

    public static void main(String[] arguments) throws Exception {
        Box box = new Box(Path.of(arguments[0]));
        for (long pause = 200; ; pause = Math.min(pause * 2, 10_000)) {
            Connection connection = null;
            try {
                connection = factory().newConnection();
                pause = 200;
                while (true) receive(connection, box);
            } catch (AuthenticationFailureException fault) {
                fail("the broker refuses " + MEMBER + ": " + fault.getMessage() + "; check BROKER");
            } catch (IOException | ShutdownSignalException | TimeoutException fault) {
                for (Throwable cause = fault; cause != null; cause = cause.getCause())
                    if (String.valueOf(cause.getMessage()).matches("(?s).*reply-code=40[34].*"))
                        fail("the broker refuses: " + cause.getMessage());
                System.err.println("no connection (" + fault.getMessage() + "): again in " + pause + " ms");
                if (connection != null) connection.abort();
                Thread.sleep(pause);
            }
        }
    }
}
