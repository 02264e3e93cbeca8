// What a run found, as text for the terminal and as a page of HTML.

const HEAD = [
  'scenario',
  'asked/s',
  'seconds',
  'uploads',
  'taken',
  'refused',
  'errors',
  'p50 ms',
  'p95 ms',
  'p99 ms',
  'max ms',
  'followed',
  'completed',
  'job p95 s',
];

function rows(found) {
  return Object.entries(found.scenarios).map(([name, one]) => [
    name,
    one.rate.toFixed(2),
    one.seconds.toFixed(0),
    `${one.uploads}`,
    `${one.taken}`,
    `${one.refused}`,
    `${one.errors}`,
    one.p50_ms.toFixed(0),
    one.p95_ms.toFixed(0),
    one.p99_ms.toFixed(0),
    one.max_ms.toFixed(0),
    `${one.followed}`,
    `${one.completed}`,
    (one.job_p95_ms / 1000).toFixed(1),
  ]);
}

function verdict(found) {
  return found.missed.length ? found.missed : ['every threshold was kept'];
}

export function table(found) {
  const lines = [HEAD, ...rows(found)].map((cells) =>
    cells.map((cell, place) => cell.padStart(HEAD[place].length + 1)).join(' '),
  );
  return `${[...lines, ...verdict(found)].join('\n')}\n`;
}

function escaped(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

function tagged(tag, cells) {
  return `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`;
}

export function page(found, target) {
  const colour = found.missed.length ? '#b00020' : '#1b5e20';
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Load test of blurline by k6</title>
<style>
body { font: 16px system-ui, sans-serif; margin: 2rem; color: #222; }
table { border-collapse: collapse; }
th, td { padding: 0.3rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
li { color: ${colour}; }
</style>
<h1>Load test of blurline by k6</h1>
<p>Sent to ${escaped(target)}. Times are those of the answers to uploads that were taken.</p>
<table>
${tagged('th', HEAD)}
${rows(found)
  .map((cells) => tagged('td', cells))
  .join('\n')}
</table>
<ul>${verdict(found)
    .map((line) => `<li>${escaped(line)}</li>`)
    .join('')}</ul>
</html>
`;
}
