<?php
// For PHP's built-in server (close-delimited bodies, `zlib.output_compression` on), and
// for PHP-FPM. Workers are processes, so what they remember lies in files in STATE_DIR.

const AWKWARD = __DIR__ . '/../awkward.sse';
const ETAG = '"page-1"';

function now_ms(): float
{
    return round(microtime(true) * 1000, 1);
}

function write(string $bytes): void
{
    echo $bytes;
    // The compressor's buffer first, then the server's.
    if (ob_get_level() > 0) {
        ob_flush();
    }
    flush();
}

function pause(float $ms): void
{
    usleep((int) ($ms * 1000));
}

function stamped(int $n): string
{
    return "id: $n\ndata: " . json_encode(['n' => $n, 'sent' => now_ms()]) . "\n\n";
}

function note(string $what): string
{
    return getenv('STATE_DIR') . '/' . bin2hex($_GET['key']) . '.' . $what;
}

function events(): void
{
    for ($n = 0; $n < (int) $_GET['n']; $n++) {
        if ($n > 0) {
            pause((float) $_GET['gap_ms']);
        }
        write(stamped($n));
    }
}

// Three silences: between events, inside an event, inside a line.
function silence(): void
{
    $ms = (float) $_GET['ms'];
    write("id: 1\ndata: before\n\n");
    pause($ms);
    write("data: first half\n");
    pause($ms);
    write("data: second half\n\ndata: in a ");
    pause($ms);
    write("line\n\n");
}

function awkward(): void
{
    foreach (str_split(file_get_contents(AWKWARD), 5) as $slice) {
        write($slice);
        pause(2);
    }
}

// An event every 100 ms, until the client is missed.
function endless(): void
{
    ignore_user_abort(true);
    file_put_contents(note('opened'), now_ms());
    for ($n = 0; !connection_aborted(); $n++) {
        write(stamped($n));
        pause(100);
    }
    file_put_contents(note('aborted'), now_ms());
}

function probe(): void
{
    $read = fn (string $what) => is_file(note($what)) ? (float) file_get_contents(note($what)) : null;
    echo json_encode(['opened' => $read('opened'), 'aborted' => $read('aborted')]);
}

function upload(): void
{
    $body = file_get_contents('php://input');
    echo json_encode(['length' => strlen($body), 'sha256' => hash('sha256', $body)]);
}

function page(): void
{
    header('ETag: ' . ETAG);
    if (($_SERVER['HTTP_IF_NONE_MATCH'] ?? '') === ETAG) {
        http_response_code(304);
        return;
    }
    echo "<!doctype html><title>page</title>\n" . str_repeat("<p>An ordinary page.</p>\n", 800);
}

set_time_limit(60);
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$streams = ['/events' => 'events', '/silence' => 'silence', '/awkward' => 'awkward', '/endless' => 'endless'];
if (isset($streams[$path])) {
    header('Content-Type: text/event-stream');
    $streams[$path]();
} elseif ($path === '/probe' || $path === '/upload') {
    header('Content-Type: application/json');
    $path === '/probe' ? probe() : upload();
} elseif ($path === '/page') {
    page();
} elseif ($path === '/nothing') {
    http_response_code(204);
} else {
    http_response_code(404);
}
