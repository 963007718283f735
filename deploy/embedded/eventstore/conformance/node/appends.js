"use strict";
// Appends with every expected state, by `BatchAppend` (the client's usual way) and by `Append`
// (what it uses for a call with credentials).

const {
  ANY, NO_STREAM, STREAM_EXISTS, WrongExpectedVersionError, assert, binaryEvent, check, collect,
  fails, ids, jsonEvent, newEvent, newEvents, newStream,
} = require("./suite");

const WAYS = [{}, { credentials: { username: "admin", password: "changeit" } }];

// Runs the check both ways, each on a stream of its own.
function checkBothWays(sentence, run) {
  check(sentence, async ({ client }) => {
    for (const way of WAYS) {
      const append = (stream, events, streamState = ANY, more = {}) =>
        client.appendToStream(stream, events, { streamState, ...way, ...more });
      await run({ client, append, stream: newStream() });
    }
  });
}

async function refused(promise, stream, expected, actual) {
  const error = await fails(promise, WrongExpectedVersionError);
  assert.deepEqual([error.streamName, error.actualState], [stream, actual]);
  assert.equal(error.expectedState, expected);
}

checkBothWays("a stream begins with no stream", async ({ client, append, stream }) => {
  const result = await append(stream, newEvents(3), NO_STREAM);
  assert.equal(result.success, true);
  assert.equal(result.nextExpectedRevision, 2n);
  const read = await collect(client.readStream(stream));
  assert.deepEqual(read.map(({ event }) => event.revision), [0n, 1n, 2n]);
  assert.deepEqual(read[2].event.position, result.position);
});

checkBothWays("an append at the exact revision follows what is there", async ({ append, stream }) => {
  let { nextExpectedRevision, position } = await append(stream, newEvent(), NO_STREAM);
  for (let count = 1; count < 4; count++) {
    const next = await append(stream, newEvents(count), nextExpectedRevision);
    assert.equal(next.nextExpectedRevision, nextExpectedRevision + BigInt(count));
    assert(next.position.commit > position.commit);
    ({ nextExpectedRevision, position } = next);
  }
});

checkBothWays("an append at another revision is refused and says what is there", async ({ client, append, stream }) => {
  await append(stream, newEvents(3), NO_STREAM);
  for (const expected of [0n, 1n, 3n, 100n]) {
    await refused(append(stream, newEvents(2), expected), stream, expected, 2n);
  }
  await refused(append(stream, newEvent(), NO_STREAM), stream, NO_STREAM, 2n);
  assert.equal((await collect(client.readStream(stream))).length, 3);
});

checkBothWays("an append to a stream that is not there is refused where one is expected", async ({ append, stream }) => {
  for (const expected of [0n, 1n, STREAM_EXISTS]) {
    await refused(append(stream, newEvent(), expected), stream, expected, NO_STREAM);
  }
});

checkBothWays("any state and stream exists go on where there is a stream", async ({ append, stream }) => {
  await append(stream, newEvent(), ANY);
  await append(stream, newEvent(), ANY);
  const { nextExpectedRevision } = await append(stream, newEvent(), STREAM_EXISTS);
  assert.equal(nextExpectedRevision, 2n);
});

checkBothWays("metadata alone makes a stream exist", async ({ client, append, stream }) => {
  await client.setStreamMetadata(stream, { cacheControl: 10 });
  const { nextExpectedRevision } = await append(stream, newEvent(), STREAM_EXISTS);
  assert.equal(nextExpectedRevision, 0n);
});

checkBothWays("a retry is answered as the first time, whole or its last part", async ({ client, append, stream }) => {
  const events = newEvents(5);
  const first = await append(stream, events.slice(0, 3), NO_STREAM);
  const second = await append(stream, events.slice(3), 2n);
  for (const [again, state, wanted] of [
    [events.slice(0, 3), NO_STREAM, first],
    [events.slice(3), 2n, second],
    [events.slice(1, 3), 0n, first],
    [events, NO_STREAM, second],
    [events.slice(0, 3), ANY, first],
    [events.slice(3), STREAM_EXISTS, second],
    [events.slice(4), ANY, second],
  ]) {
    assert.deepEqual(await append(stream, again, state), wanted);
  }
  assert.deepEqual(ids(await collect(client.readStream(stream))), ids(events));
});

checkBothWays("a retry that brings something new is refused", async ({ client, append, stream }) => {
  const events = newEvents(3);
  await append(stream, events, NO_STREAM);
  for (const [first, state] of [[0, NO_STREAM], [1, 0n], [0, ANY], [0, STREAM_EXISTS]]) {
    const more = [...events.slice(first), newEvent()];
    await refused(append(stream, more, state), stream, state, 2n);
  }
  assert.equal((await collect(client.readStream(stream))).length, 3);
});

checkBothWays("an event comes back as it was sent", async ({ client, append, stream }) => {
  const before = Date.now() - 1_000;
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const sent = [
    jsonEvent({ type: "Ünïcødé 事件 🎬", data: { text: "CC ‐ 1830 🦃", list: [1, null, true] } }),
    jsonEvent({ type: "json", data: "text", metadata: { meta: "ünï" } }),
    jsonEvent({ type: "json", data: [1], metadata: bytes }),
    binaryEvent({ type: "binary", data: bytes, metadata: { meta: 1 } }),
    binaryEvent({ type: "T".repeat(1024), data: Uint8Array.from([]) }),
  ];
  await append(stream, sent, NO_STREAM);
  const read = await collect(client.readStream(stream));
  for (const [at, { event }] of read.entries()) {
    const { id, type, contentType, data, metadata } = sent[at];
    const plain = (value) => (value instanceof Uint8Array ? [...value] : value);
    assert.deepEqual([event.id, event.type, event.isJson], [id, type, contentType === "application/json"]);
    assert.deepEqual(plain(event.data), plain(data));
    assert.deepEqual(plain(event.metadata), plain(metadata));
    assert.equal(event.streamId, stream);
    assert(event.created.getTime() >= before && event.created.getTime() <= Date.now() + 1_000);
  }
});

checkBothWays("a stream's name may be anything", async ({ client, append }) => {
  for (const name of ["поток 🎞 ", "a b/c?d=e&f#g", "with@at", "x".repeat(900), "$own"]) {
    const stream = newStream(name);
    await append(stream, newEvent(), NO_STREAM);
    const [read] = await collect(client.readStream(stream));
    assert.equal(read.event.streamId, stream);
    await refused(append(stream, newEvent(), 7n), stream, 7n, 0n);
  }
});

check("a batch in many parts is appended whole, and in order", async ({ client }) => {
  const stream = newStream();
  const events = newEvents(5_000);
  const result = await client.appendToStream(stream, events, { batchAppendSize: 1024 });
  assert.equal(result.nextExpectedRevision, 4_999n);
  assert.deepEqual(ids(await collect(client.readStream(stream))), ids(events));
});

check("many appends at once are each answered with their own result", async ({ client }) => {
  const streams = Array.from({ length: 300 }, () => newStream());
  const results = await Promise.all(
    streams.map((stream, at) => client.appendToStream(stream, newEvents((at % 3) + 1))),
  );
  const revisions = results.map(({ nextExpectedRevision }) => nextExpectedRevision);
  assert.deepEqual(revisions, streams.map((_, at) => BigInt(at % 3)));
});

check("of many writers at one revision one wins", async ({ client }) => {
  const stream = newStream();
  const attempts = Array.from({ length: 20 }, () =>
    client.appendToStream(stream, newEvents(2), { streamState: NO_STREAM }),
  );
  const outcomes = await Promise.allSettled(attempts);
  const lost = outcomes.filter(({ status }) => status === "rejected");
  assert.equal(lost.length, 19);
  for (const { reason } of lost) {
    assert(reason instanceof WrongExpectedVersionError);
    assert.equal(reason.actualState, 1n);
  }
});

check("a refused append does not end the call that many share", async ({ client }) => {
  const stream = newStream();
  await client.appendToStream(stream, newEvent());
  const good = () => client.appendToStream(newStream(), newEvent());
  const bad = () => fails(
    client.appendToStream(stream, newEvent(), { streamState: 9n }), WrongExpectedVersionError,
  );
  await Promise.all([good(), bad(), good(), bad(), good()]);
});
