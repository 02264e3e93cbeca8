// Uploads at fixed rates, whatever the service answers; see load-tests/README.md.

import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

import { page, table } from './summary.js';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8000';
const POLL_SHARE = number('POLL_SHARE', 0.05);
const POLL_SECONDS = 0.5;
const JOB_DEADLINE_S = 120;
const PAUSE_S = 5;
const MOST_DROPPED = 0.01;
const LEAST_SENT = 0.9;
const SURELY_FOLLOWED = 3;
const BOUNDARY = 'blurline-load-test';

const plan = planned(JSON.parse(open('./scenarios.json')));
const photo = ownPhoto();

const begun = new Counter('uploads_begun');
const taken = new Rate('uploads_taken');
const errors = new Rate('upload_errors');
const refused = new Counter('uploads_refused');
const answerTime = new Trend('upload_time', true);
const followed = new Counter('jobs_followed');
const completed = new Rate('jobs_completed');
const jobTime = new Trend('job_time', true);

export const options = {
  scenarios: scenarios(),
  thresholds: thresholds(),
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

function number(name, otherwise) {
  return __ENV[name] ? Number(__ENV[name]) : otherwise;
}

// RATE and DURATION are those of `steady`; the other scenarios keep their proportion to it.
function planned(all) {
  const pace = number('RATE', all.steady.rate) / all.steady.rate;
  const stretch = number('DURATION', all.steady.seconds) / all.steady.seconds;
  const wanted = (__ENV.SCENARIOS || Object.keys(all).join(',')).split(',');
  const found = {};
  for (const name of wanted) {
    if (!all[name]) {
      throw new Error(`SCENARIOS: there is no ${name}; there are ${Object.keys(all).join(', ')}`);
    }
    const own = (key, otherwise) => number(`${name.toUpperCase()}_${key}`, otherwise);
    found[name] = {
      rate: own('RATE', all[name].rate * pace),
      seconds: own('SECONDS', all[name].seconds * stretch),
      files: own('FILES', all[name].files),
      least_taken: own('LEAST_TAKEN', all[name].least_taken),
      p95_ms: own('P95_MS', all[name].p95_ms),
      p99_ms: own('P99_MS', all[name].p99_ms),
    };
  }
  return found;
}

function scenarios() {
  const found = {};
  let startTime = 0;
  for (const [name, { rate, seconds }] of Object.entries(plan)) {
    found[name] = {
      executor: 'constant-arrival-rate',
      exec: 'uploads',
      startTime: `${startTime}s`,
      // k6 wants whole numbers, and a rate of less than one a second has to be possible.
      rate: Math.max(1, Math.round(60 * rate)),
      timeUnit: '1m',
      duration: `${seconds}s`,
      preAllocatedVUs: Math.ceil(2 * rate),
      maxVUs: Math.ceil(8 * rate) + 10,
      gracefulStop: `${JOB_DEADLINE_S}s`,
    };
    startTime += seconds + PAUSE_S;
  }
  return found;
}

function thresholds() {
  const found = {};
  for (const [name, wanted] of Object.entries(plan)) {
    const of = (metric) => `${metric}{scenario:${name}}`;
    const dropped = Math.ceil(MOST_DROPPED * wanted.rate * wanted.seconds);
    const least = Math.floor(LEAST_SENT * wanted.rate * wanted.seconds);
    found[of('uploads_begun')] = [`count>=${least}`];
    found[of('jobs_followed')] = ['count>0'];
    found[of('upload_errors')] = ['rate==0'];
    found[of('jobs_completed')] = ['rate==1'];
    found[of('uploads_taken')] = [`rate>=${wanted.least_taken}`];
    found[of('upload_time')] = [`p(95)<${wanted.p95_ms}`, `p(99)<${wanted.p99_ms}`];
    found[of('dropped_iterations')] = [`count<=${dropped}`];
    // These two hold always; k6 keeps figures by scenario only where there is a threshold.
    found[of('uploads_refused')] = ['count>=0'];
    found[of('job_time')] = ['max>=0'];
  }
  return found;
}

// Each virtual user keeps one photo, so that hundreds of them fit into memory. The first pass over
// this file has to open all of them.
function ownPhoto() {
  if (!__ENV.PHOTO) {
    throw new Error('PHOTO is not set: give absolute paths of JPEGs, divided by commas');
  }
  const paths = __ENV.PHOTO.split(',');
  const own = __VU % paths.length;
  return paths.map((path, place) =>
    __VU === 0 || place === own ? new Uint8Array(open(path, 'b')) : null,
  )[own];
}

function bytes(text) {
  return Uint8Array.from(text.split(''), (letter) => letter.charCodeAt(0));
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

// The photo with a comment, so that no two files of a batch are the same.
function numbered(place) {
  const text = bytes(`photo ${place}`);
  const segment = [0xff, 0xfe, 0, text.length + 2];
  return joined([photo.subarray(0, 2), segment, text, photo.subarray(2)]);
}

function form(files) {
  const parts = [];
  for (let place = 0; place < files; place += 1) {
    parts.push(
      bytes(
        `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${files > 1 ? 'files' : 'file'}"; ` +
          `filename="photo${place}.jpg"\r\nContent-Type: image/jpeg\r\n\r\n`,
      ),
      files > 1 ? numbered(place) : photo,
      bytes('\r\n'),
    );
  }
  return joined([...parts, bytes(`--${BOUNDARY}--\r\n`)]).buffer;
}

// k6 takes a threshold without a single figure for one that was kept, so each has a first one.
export function setup() {
  for (const scenario of Object.keys(plan)) {
    begun.add(0, { scenario });
    followed.add(0, { scenario });
  }
}

const forms = {};

function headers(more) {
  return __ENV.API_KEY ? { Authorization: `Bearer ${__ENV.API_KEY}`, ...more } : more;
}

function send(scenario, files) {
  forms[files] = forms[files] || form(files);
  return http.post(`${BASE_URL}/${files > 1 ? 'batch-upload' : 'upload'}`, forms[files], {
    headers: headers({
      'Content-Type': `multipart/form-data; boundary=${BOUNDARY}`,
      'Idempotency-Key': crypto.randomUUID(),
    }),
    tags: { name: `${scenario} upload` },
    timeout: '60s',
  });
}

// The jobs of an answer, or null where it is none that a working service gives.
function jobsOf(answer, files) {
  if (answer.status !== 202) {
    return null;
  }
  if (files === 1) {
    return [answer.json('job_id')];
  }
  const entries = answer.json('jobs');
  const broken = entries.some((entry) => !entry.job_id && entry.error.code !== 'queue_full');
  return broken ? null : entries.filter((entry) => entry.job_id).map((entry) => entry.job_id);
}

export function uploads() {
  const scenario = exec.scenario.name;
  const { files } = plan[scenario];
  const began = Date.now();
  begun.add(1);
  const answer = send(scenario, files);
  const wait = Number(answer.headers['Retry-After']);
  if ([429, 503].includes(answer.status) && wait > 0) {
    // Back-pressure is the service working as it should.
    refused.add(1);
    taken.add(false);
    errors.add(false);
    return;
  }
  const jobs = jobsOf(answer, files);
  taken.add(jobs !== null);
  errors.add(jobs === null);
  if (jobs === null) {
    console.error(`${scenario}: an upload was answered ${answer.status} ${answer.error}`);
    return;
  }
  answerTime.add(answer.timings.duration);
  jobs.forEach((job) => console.log(`accepted ${scenario} ${job}`));
  const first = exec.scenario.iterationInTest < SURELY_FOLLOWED;
  if (jobs.length && (first || Math.random() < POLL_SHARE)) {
    follow(jobs[jobs.length - 1], began);
  }
}

function follow(job, began) {
  followed.add(1);
  let status = 'submitted';
  while (
    ['submitted', 'processing'].includes(status) &&
    Date.now() - began < JOB_DEADLINE_S * 1000
  ) {
    sleep(POLL_SECONDS);
    const answer = http.get(`${BASE_URL}/status/${job}`, {
      headers: headers({}),
      tags: { name: 'status' },
    });
    status = answer.status === 200 ? answer.json('status') : `answered ${answer.status}`;
  }
  completed.add(status === 'completed');
  jobTime.add(Date.now() - began);
}

export function handleSummary(data) {
  const values = (metric, name) => (data.metrics[`${metric}{scenario:${name}}`] || {}).values || {};
  const found = { generator: 'k6', scenarios: {}, missed: [] };
  for (const [name, { rate, seconds }] of Object.entries(plan)) {
    const time = values('upload_time', name);
    found.scenarios[name] = {
      rate,
      seconds,
      uploads: values('uploads_begun', name).count || 0,
      taken: values('uploads_taken', name).passes || 0,
      refused: values('uploads_refused', name).count || 0,
      errors: values('upload_errors', name).passes || 0,
      p50_ms: time.med || 0,
      p95_ms: time['p(95)'] || 0,
      p99_ms: time['p(99)'] || 0,
      max_ms: time.max || 0,
      followed: values('jobs_followed', name).count || 0,
      completed: values('jobs_completed', name).passes || 0,
      job_p95_ms: values('job_time', name)['p(95)'] || 0,
    };
  }
  for (const [metric, { thresholds: bounds, values: reached }] of Object.entries(data.metrics)) {
    for (const [bound, { ok }] of Object.entries(bounds || {})) {
      if (!ok) {
        found.missed.push(`${metric}: ${bound} was wanted, it was ${JSON.stringify(reached)}`);
      }
    }
  }
  const written = { stdout: table(found) };
  if (__ENV.OUT) {
    written[`${__ENV.OUT}/k6.json`] = JSON.stringify(found, null, 1);
    written[`${__ENV.OUT}/k6.html`] = page(found, BASE_URL);
  }
  return written;
}
