"use strict";
// The checks of this client.
//
// They run one after the other, in the order they are written, and share one node unless they
// start their own.

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const kurrentdb = require("@kurrent/kurrentdb-client");
const { Node } = require("./node");
const { judge, plan } = require("./tap");

// No check waits longer than this.
const SECONDS_MAX = 60;

const checks = [];

function check(sentence, run) {
  checks.push({ sentence, run });
}

function connect(node, scheme = "kurrentdb", options = "") {
  const address = `${scheme}://127.0.0.1:${node.port}?tls=false${options}`;
  return kurrentdb.KurrentDBClient.connectionString(address);
}

// Runs with a node of the check's own, and a client of it.
async function withOwnNode(run) {
  const node = await Node.start();
  const client = connect(node);
  try {
    await run(node, client);
  } finally {
    await client.dispose();
    await node.remove();
  }
}

function newStream(prefix = "stream") {
  return `${prefix}-${randomUUID()}`;
}

function newEvent(type = "Happened", data = {}) {
  return kurrentdb.jsonEvent({ type, data });
}

function newEvents(count, type = "Happened") {
  return Array.from({ length: count }, (_, n) => newEvent(type, { n }));
}

const ids = (events) => events.map((event) => (event.event ?? event.link ?? event).id);

// Everything a read answers with.
async function collect(answers) {
  const found = [];
  for await (const event of answers) found.push(event);
  return found;
}

const iterators = new WeakMap();

// The next events of a subscription, which goes on.
async function take(subscription, count) {
  if (!iterators.has(subscription)) iterators.set(subscription, subscription[Symbol.asyncIterator]());
  const found = [];
  while (found.length < count) {
    const { value, done } = await iterators.get(subscription).next();
    assert(!done, `the subscription ended after ${found.length} events of ${count}`);
    found.push(value);
  }
  return found;
}

// The promise must fail with exactly this kind of error, which is the answer.
async function fails(promise, kind) {
  let found;
  try {
    found = await promise;
  } catch (error) {
    if (error.constructor !== kind) {
      throw new Error(`failed with ${error.constructor.name} (${error.message}), wanted ${kind.name}`);
    }
    return error;
  }
  throw new Error(`answered ${String(found)}, wanted ${kind.name}`);
}

// Whether all checks passed.
async function run() {
  plan(checks.length);
  const node = await Node.start();
  const client = connect(node);
  let passed = true;
  for (const [index, { sentence, run }] of checks.entries()) {
    const check = () => run({ node, client });
    passed = (await judge(index + 1, sentence, SECONDS_MAX, check)) && passed;
  }
  await client.dispose();
  await node.remove();
  return passed;
}

module.exports = {
  assert, check, collect, connect, fails, ids, newEvent, newEvents, newStream, run, take, withOwnNode,
  ...kurrentdb,
};
