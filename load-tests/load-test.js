// A steady stream of uploads, then a spike above what the workers can do; see load-tests/README.md.

import { check, sleep } from 'k6';
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';

if (!__ENV.PHOTO) {
  throw new Error('PHOTO is not set: give the absolute path of a JPEG with -e PHOTO=...');
}

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8000';
const POLL_SHARE = Number(__ENV.POLL_SHARE || 0.05);
const JOB_DEADLINE_S = 60;
const headers = __ENV.API_KEY ? { Authorization: `Bearer ${__ENV.API_KEY}` } : {};
const photo = http.file(open(__ENV.PHOTO, 'b'), 'photo.jpg', 'image/jpeg');

const accepted = new Rate('uploads_accepted');
const refused = new Counter('uploads_refused_429');
const completed = new Rate('jobs_completed');
const jobTime = new Trend('job_time', true);

// 429 is back-pressure, not a failure.
const uploadAnswers = { responseCallback: http.expectedStatuses(202, 429) };

export const options = {
  scenarios: {
    steady: {
      executor: 'constant-arrival-rate',
      rate: 30,
      timeUnit: '1s',
      duration: '2m',
      preAllocatedVUs: 60,
      maxVUs: 300,
    },
    spike: {
      executor: 'constant-arrival-rate',
      startTime: '2m10s',
      rate: 100,
      timeUnit: '1s',
      duration: '30s',
      preAllocatedVUs: 150,
      maxVUs: 800,
    },
  },
  thresholds: {
    http_req_failed: ['rate<0.01'],
    checks: ['rate>0.99'],
    dropped_iterations: ['count<50'],
    'http_req_duration{scenario:steady,name:upload}': ['p(95)<500'],
    'http_req_duration{scenario:spike,name:upload}': ['p(95)<2000'],
    'uploads_accepted{scenario:steady}': ['rate>0.99'],
    'jobs_completed{scenario:steady}': ['rate>0.99'],
    'job_time{scenario:steady}': ['p(95)<10000'],
  },
};

export default function () {
  const began = Date.now();
  // Each upload is one of its own, though all send the same photo.
  const key = { 'Idempotency-Key': `${__VU}-${__ITER}-${Date.now()}-${Math.random()}` };
  const answer = http.post(
    `${BASE_URL}/upload`,
    { file: photo },
    { ...uploadAnswers, headers: { ...headers, ...key }, tags: { name: 'upload' } },
  );
  const taken = answer.status === 202;
  accepted.add(taken);
  if (answer.status === 429) {
    refused.add(1);
    check(answer, { 'a 429 says when to come back': (a) => Number(a.headers['Retry-After']) > 0 });
    return;
  }
  check(answer, { 'an upload is taken': () => taken });
  if (taken && Math.random() < POLL_SHARE) {
    follow(answer.json('job_id'), began);
  }
}

function follow(jobId, began) {
  let status = 'submitted';
  while (
    ['submitted', 'processing'].includes(status) &&
    Date.now() - began < JOB_DEADLINE_S * 1000
  ) {
    sleep(0.5);
    const answer = http.get(`${BASE_URL}/status/${jobId}`, { headers, tags: { name: 'status' } });
    status = answer.status === 200 ? answer.json('status') : `${answer.status}`;
  }
  completed.add(status === 'completed');
  jobTime.add(Date.now() - began);
}
