#!/usr/bin/env php
<?php
// Publishes the records of a JSON Lines file as events, as WIRE.md says.
//
//     publish.php RECORDS.jsonl       with the settings of examples/README.md
//
// It may be stopped anyhow and run again: a record keeps its id, and the hub
// drops what it has. Exit status 1: a record can't be encoded, or an event isn't taken.
declare(strict_types=1);

require getenv('PHP_AMQPLIB') ?: '/usr/share/php/PhpAmqpLib/autoload.php';

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\{AMQPSSLConnection, AMQPStreamConnection};
use PhpAmqpLib\Exception\{AMQPExceptionInterface, AMQPProtocolException};
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const WINDOW = 500; // so many events are on their way at once

function fail(string $sentence): never
{
    fwrite(STDERR, "$sentence\n");
    exit(1);
}

function setting(string $name): string
{
    return getenv($name) ?: fail("set $name: see examples/README.md");
}

function base64url(string $octets): string
{
    return sodium_bin2base64($octets, SODIUM_BASE64_VARIANT_URLSAFE_NO_PADDING);
}

// ---- Avro: PHP has no packaged library. What the schemas use of it (schemas/README.md) is this.

/** The Parsing Canonical Form of a schema; the named types that it defines go to $types. */
function canonical(mixed $schema, array &$types): string
{
    if (is_string($schema)) {
        return json_encode($schema);
    }
    $forms = [];
    if (array_is_list($schema)) {
        foreach ($schema as $one) {
            $forms[] = canonical($one, $types);
        }
        return '[' . implode(',', $forms) . ']';
    }
    $type = $schema['type'];
    if ($type === 'array') {
        return '{"type":"array","items":' . canonical($schema['items'], $types) . '}';
    }
    if ($type !== 'record' && $type !== 'enum') {
        return canonical($type, $types);
    }
    $types[$schema['name']] = $schema;
    $begin = '{"name":' . json_encode($schema['name']) . ',"type":"' . $type . '",';
    if ($type === 'enum') {
        return $begin . '"symbols":' . json_encode($schema['symbols']) . '}';
    }
    foreach ($schema['fields'] as $field) {
        $forms[] = '{"name":' . json_encode($field['name']) . ',"type":' . canonical($field['type'], $types) . '}';
    }
    return $begin . '"fields":[' . implode(',', $forms) . ']}';
}

/** CRC-64-AVRO of a text, as the 8 little-endian bytes of single-object encoding. */
function fingerprint(string $text): string
{
    $empty = (0xc15d213a << 32) | 0xa4d7a795;
    $shift = fn (int $word, int $bits) => ($word >> $bits) & (PHP_INT_MAX >> ($bits - 1)); // without the sign
    $crc = $empty;
    foreach (unpack('C*', $text) as $byte) {
        $entry = ($crc ^ $byte) & 0xff;
        for ($bit = 0; $bit < 8; $bit++) {
            $entry = $shift($entry, 1) ^ ($entry & 1 ? $empty : 0);
        }
        $crc = $shift($crc, 8) ^ $entry;
    }
    return pack('P', $crc);
}

function long(int $number): string
{
    $zigzag = ($number << 1) ^ ($number >> 63);
    for ($octets = ''; $zigzag & ~0x7f; $zigzag = ($zigzag >> 7) & (PHP_INT_MAX >> 6)) {
        $octets .= chr($zigzag & 0x7f | 0x80);
    }
    return $octets . chr($zigzag);
}

/** A value in Avro's binary form. What is wrong is named by its path: its value may be a citizen's. */
function datum(mixed $schema, mixed $value, array $types, string $path): string
{
    $wrong = new InvalidArgumentException("the field $path isn't as its schema says");
    if (is_array($schema) && array_is_list($schema)) { // a union of null and one more
        $null = array_search('null', $schema, true);
        return $value === null ? long($null) : long(1 - $null) . datum($schema[1 - $null], $value, $types, $path);
    }
    $type = is_array($schema) ? $schema['type'] : $schema;
    if (is_string($type) && isset($types[$type])) {
        return datum($types[$type], $value, $types, $path);
    }
    switch ($type) {
        case 'record':
            $value instanceof stdClass || throw $wrong;
            $names = array_column($schema['fields'], 'name');
            foreach (array_diff(array_keys(get_object_vars($value)), $names) as $unknown) {
                throw new InvalidArgumentException("there is no field $path.$unknown");
            }
            $octets = '';
            foreach ($schema['fields'] as $field) {
                $name = $field['name'];
                if (!property_exists($value, $name) && !array_key_exists('default', $field)) {
                    throw new InvalidArgumentException("the field $path.$name is missing");
                }
                $octets .= datum($field['type'], property_exists($value, $name) ? $value->$name : $field['default'], $types, "$path.$name");
            }
            return $octets;
        case 'array':
            is_array($value) || throw $wrong;
            $items = array_map(fn ($item) => datum($schema['items'], $item, $types, $path), $value);
            return ($items ? long(count($items)) . implode($items) : '') . long(0);
        case 'enum':
            $at = array_search($value, $schema['symbols'], true);
            return $at === false ? throw $wrong : long($at);
        case 'string':
            return is_string($value) ? long(strlen($value)) . $value : throw $wrong;
        case 'boolean':
            return is_bool($value) ? chr((int) $value) : throw $wrong;
        case 'int':
        case 'long':
            $fits = is_int($value) && ($type === 'long' || abs($value) < 2 ** 31);
            return $fits ? long($value) : throw $wrong;
        case 'double':
            return is_int($value) || is_float($value) ? pack('e', $value) : throw $wrong;
    }
    return is_array($type) ? datum($type, $value, $types, $path) : throw $wrong;
}

/** The schema of a type, the types that it defines, and the prefix of single-object encoding. */
function schema(string $kind): array
{
    static $schemas = [];
    if (!isset($schemas[$kind])) {
        $text = @file_get_contents(setting('SCHEMAS') . "/$kind/1.json");
        $text !== false || throw new InvalidArgumentException("SCHEMAS has no $kind/1.json");
        $schema = json_decode($text, true, flags: JSON_THROW_ON_ERROR);
        $types = [];
        $prefix = "\xC3\x01" . fingerprint(canonical($schema, $types));
        $schemas[$kind] = [$schema, $types, $prefix];
    }
    return $schemas[$kind];
}

// ---- section 1

/** An event's routing key and message. */
function event(stdClass $record): array
{
    foreach (['id', 'type', 'subject', 'time', 'data'] as $name) {
        isset($record->$name) || throw new InvalidArgumentException("no $name");
    }
    [$schema, $types, $prefix] = schema($record->type);
    $body = $prefix . datum($schema, $record->data, $types, 'data');
    $attributes = [
        'specversion' => '1.0',
        'id' => $record->id,
        'source' => '/' . MEMBER . '/' . SYSTEM,
        'type' => $record->type,
        'subject' => $record->subject,
        'time' => $record->time,
        'dataschema' => "urn:pirogue:schema:$record->type:1",
    ];
    $ce = $attributes + ['datacontenttype' => 'application/avro'];
    $header = ['alg' => 'EdDSA', 'b64' => false, 'crit' => ['b64'], 'kid' => KID, 'aud' => HUB, 'ce' => $ce];
    $protected = base64url(json_encode($header, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR));
    $signature = base64url(sodium_crypto_sign_detached("$protected.$body", KEY));
    $headers = ['cloudEvents_signature' => "$protected..$signature"];
    foreach ($attributes as $name => $value) {
        $headers["cloudEvents_$name"] = $value;
    }
    return [MEMBER . ".$record->type", new AMQPMessage($body, [
        'content_type' => 'application/avro',
        'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
        'message_id' => $record->id,
        'type' => $record->type,
        'app_id' => MEMBER,
        'user_id' => MEMBER,
        'application_headers' => new AMQPTable($headers),
    ])];
}

/** A channel with confirms; those that are refused go to $refused, by their place in the window. */
function open(): AMQPChannel
{
    $url = array_map('rawurldecode', array_map('strval', parse_url(BROKER)));
    $isTls = $url['scheme'] === 'amqps';
    $to = [$url['host'], $url['port'] ?? ($isTls ? 5671 : 5672), $url['user'], $url['pass'], substr($url['path'] ?? '//', 1)];
    // By default the client gives up after 3 seconds, and logs in by a way of RabbitMQ's own.
    $times = ['connection_timeout' => 10.0, 'read_write_timeout' => 120.0, 'keepalive' => !$isTls, 'login_method' => 'PLAIN'];
    $tls = array_filter(['cafile' => getenv('CA_FILE'), 'verify_peer' => true, 'peer_name' => $url['host']]);
    $connection = $isTls ? new AMQPSSLConnection(...$to, ssl_options: $tls, options: $times) : new AMQPStreamConnection(...$to, ...$times);
    $channel = $connection->channel();
    $channel->confirm_select();
    $channel->set_return_listener(fn ($code, $text, $exchange, $key, AMQPMessage $message) =>
        fail("the broker has no queue for {$message->get('message_id')}: tell the hub's operator, then run this again"));
    return $channel;
}

/** Publishes in order. Returns what isn't taken: from the first nack on. */
function send(AMQPChannel $channel, array $window): array
{
    $refused = count($window);
    $places = new SplObjectStorage();
    $channel->set_nack_handler(function (AMQPMessage $message) use (&$refused, $places) {
        $refused = min($refused, $places[$message]);
    });
    foreach ($window as $place => [$routingKey, $message]) {
        $places[$message] = $place;
        $channel->basic_publish($message, 'pirogue.events', $routingKey, mandatory: true);
    }
    $channel->wait_for_pending_acks_returns(120);
    return array_slice($window, $refused);
}

function sendAll(array $window): void
{
    static $channel = null;
    for ($pause = 200; $window; ) {
        $before = count($window);
        $why = "the hub's inbox takes no more now";
        try {
            $channel ??= open();
            $window = send($channel, $window);
        } catch (AMQPExceptionInterface $fault) {
            if ($fault instanceof AMQPProtocolException && in_array($fault->getCode(), [403, 404])) {
                fail('the broker refuses ' . MEMBER . ": {$fault->getMessage()}; check BROKER");
            }
            $channel = null;
            $why = 'no connection (' . $fault->getMessage() . ')';
        }
        if (!$window) {
            return;
        }
        $pause = count($window) < $before ? 200 : min($pause * 2, 10000);
        fwrite(STDERR, "$why: " . count($window) . " events wait\n"); // section 1: a nack means try again later
        usleep($pause * 1000);
    }
}

foreach (['BROKER', 'MEMBER', 'SYSTEM', 'HUB'] as $name) {
    define($name, setting($name));
}
// ---- section 4: the key, whose seed ends the PKCS#8, and its id, the thumbprint of RFC 7638
$pem = (string) file_get_contents(setting('KEY'));
$pkcs8 = base64_decode((string) preg_replace('/-----[A-Z ]+-----|\s/', '', $pem));
$begin = hex2bin('302e020100300506032b657004220420');
str_starts_with($pkcs8, $begin) && strlen($pkcs8) === 48 || fail("KEY isn't a plain PKCS#8 key of Ed25519");
$pair = sodium_crypto_sign_seed_keypair(substr($pkcs8, strlen($begin)));
define('KEY', sodium_crypto_sign_secretkey($pair));
$x = base64url(sodium_crypto_sign_publickey($pair));
define('KID', base64url(hash('sha256', '{"crv":"Ed25519","kty":"OKP","x":"' . $x . '"}', true)));

[$taken, $leftOut, $window] = [0, 0, []];
$file = fopen($argv[1], 'r') ?: fail('the records can\'t be read');
for ($number = 1; ($line = fgets($file)) !== false; $number++) {
    try {
        $window[] = event(json_decode($line, flags: JSON_THROW_ON_ERROR));
    } catch (InvalidArgumentException | JsonException | TypeError $fault) {
        $why = $fault instanceof InvalidArgumentException ? $fault->getMessage() : "it isn't a record in JSON";
        fwrite(STDERR, "line $number is left out: $why\n");
        $leftOut++;
    }
    if (count($window) === WINDOW) {
        sendAll($window);
        $taken += count($window);
        $window = [];
    }
}
sendAll($window);
$taken += count($window);
echo "$taken events are taken, $leftOut records left out\n";
exit($leftOut ? 1 : 0);
