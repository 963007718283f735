"use strict";
// Reads of a stream and of the whole log, in both directions, from every kind of position.
// This client reads forwards from `START` and backwards from `END`, whatever direction it is told.

const {
  BACKWARDS, END, START, StreamNotFoundError, assert, check, collect, fails, ids, newEvent,
  newEvents, newStream, withOwnNode,
} = require("./suite");

async function written(client, count) {
  const stream = newStream();
  const events = newEvents(count);
  await client.appendToStream(stream, events);
  return [stream, ids(events)];
}

check("a stream is read from every revision in both directions", async ({ client }) => {
  const [stream, wanted] = await written(client, 5);
  const read = async (options) => ids(await collect(client.readStream(stream, options)));
  const reversed = [...wanted].reverse();
  assert.deepEqual(await read({}), wanted);
  assert.deepEqual(await read({ fromRevision: START }), wanted);
  assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: END }), reversed);
  for (let at = 0; at < 5; at++) {
    const fromRevision = BigInt(at);
    assert.deepEqual(await read({ fromRevision }), wanted.slice(at));
    const backwards = { fromRevision, direction: BACKWARDS };
    assert.deepEqual(await read(backwards), reversed.slice(4 - at));
    assert.deepEqual(await read({ ...backwards, maxCount: 2 }), reversed.slice(4 - at).slice(0, 2));
    assert.deepEqual(await read({ fromRevision, maxCount: 2 }), wanted.slice(at, at + 2));
  }
});

check("past the end of a stream is nothing forwards and all of it backwards", async ({ client }) => {
  const [stream, wanted] = await written(client, 3);
  for (const fromRevision of [3n, 100n, 2n ** 63n - 1n]) {
    assert.deepEqual(await collect(client.readStream(stream, { fromRevision })), []);
    const options = { fromRevision, direction: BACKWARDS };
    const read = ids(await collect(client.readStream(stream, options)));
    assert.deepEqual(read.reverse(), wanted);
  }
});

check("a stream that is not there is not found", async ({ client }) => {
  const stream = newStream();
  for (const options of [{}, { fromRevision: 1n }, { direction: BACKWARDS, fromRevision: END }]) {
    const error = await fails(collect(client.readStream(stream, options)), StreamNotFoundError);
    assert.equal(error.streamName, stream);
  }
});

check("a long stream is read in order", async ({ client }) => {
  const [stream, wanted] = await written(client, 5_000);
  assert.deepEqual(ids(await collect(client.readStream(stream))), wanted);
  const options = { direction: BACKWARDS, fromRevision: END };
  assert.deepEqual(ids(await collect(client.readStream(stream, options))).reverse(), wanted);
});

check("the log is read from a position, included forwards and excluded backwards", async ({ client }) => {
  const [stream, wanted] = await written(client, 6);
  const events = await collect(client.readStream(stream));
  for (const [at, { event }] of events.entries()) {
    const fromPosition = event.position;
    const forwards = await collect(client.readAll({ fromPosition }));
    assert.deepEqual(ids(forwards), wanted.slice(at));
    const options = { fromPosition, direction: BACKWARDS, maxCount: at + 1 };
    const backwards = ids(await collect(client.readAll(options)));
    assert.deepEqual(backwards.slice(0, at), wanted.slice(0, at).reverse());
  }
});

check("the log is read from its ends, to a limit", async ({ client }) => {
  const [, wanted] = await written(client, 6);
  const options = { direction: BACKWARDS, fromPosition: END };
  const last = ids(await collect(client.readAll({ ...options, maxCount: 6 })));
  assert.deepEqual(last.reverse(), wanted);
  const all = ids(await collect(client.readAll()));
  assert.deepEqual(all.slice(-6), wanted);
  assert.deepEqual(ids(await collect(client.readAll(options))).reverse(), all);
  assert.deepEqual(ids(await collect(client.readAll({ maxCount: 2 }))), all.slice(0, 2));
});

check("an event found in the log is the one found in its stream", async ({ client }) => {
  const [stream] = await written(client, 2);
  for (const found of await collect(client.readStream(stream))) {
    const [same] = await collect(client.readAll({ fromPosition: found.event.position, maxCount: 1 }));
    assert.deepEqual(same.event, found.event);
  }
});

check("a new log has nothing but what the system wrote", async () => {
  await withOwnNode(async (_, client) => {
    const found = await collect(client.readAll());
    assert(found.length > 0);
    assert.deepEqual(found.filter(({ event }) => !event.type.startsWith("$")), []);
    await client.appendToStream(newStream(), newEvent());
    assert.equal((await collect(client.readAll())).length, found.length + 1);
  });
});

check("a read that is left half way does no harm", async ({ client }) => {
  const [stream, wanted] = await written(client, 3_000);
  // The client keeps what it was left with until it is collected: many would hold up the next.
  for (let round = 0; round < 5; round++) {
    const found = [];
    for await (const event of client.readStream(stream)) {
      if (found.push(event) === 5) break;
    }
    assert.deepEqual(ids(found), wanted.slice(0, 5));
  }
  assert.equal((await collect(client.readStream(stream))).length, 3_000);
});
