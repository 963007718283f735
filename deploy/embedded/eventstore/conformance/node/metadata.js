"use strict";
// Stream metadata: kept, returned, versioned, and what of it hides events.

const { setTimeout: pause } = require("node:timers/promises");
const {
  NO_STREAM, WrongExpectedVersionError, assert, check, collect, fails, newEvent, newEvents,
  newStream, take,
} = require("./suite");

const MS_TO_EXPIRE_MAX = 10_000;

async function written(client, count) {
  const stream = newStream();
  await client.appendToStream(stream, newEvents(count));
  return stream;
}

async function revisions(client, stream, options) {
  const read = await collect(client.readStream(stream, options));
  return read.map(({ event }) => Number(event.revision));
}

check("a stream without metadata has none", async ({ client }) => {
  for (const stream of [newStream(), await written(client, 1)]) {
    assert.deepEqual(await client.getStreamMetadata(stream), { streamName: stream });
  }
});

check("all of the metadata is kept and returned", async ({ client }) => {
  const stream = newStream();
  const acl = {
    readRoles: ["admin"], writeRoles: ["admin"], deleteRoles: ["admin"],
    metaReadRoles: ["admin"], metaWriteRoles: ["admin"],
  };
  const metadata = {
    maxAge: 2_000, cacheControl: 15, truncateBefore: 1, maxCount: 12, turkey: "🦃", list: [1, { a: null }], acl,
  };
  await client.setStreamMetadata(stream, metadata);
  assert.deepEqual((await client.getStreamMetadata(stream)).metadata, metadata);
  await client.setStreamMetadata(stream, { maxCount: 11 });
  assert.deepEqual((await client.getStreamMetadata(stream)).metadata, { maxCount: 11 });
});

check("metadata is set at the revision it expects", async ({ client }) => {
  const stream = newStream();
  const put = (streamState, mine) => client.setStreamMetadata(stream, { mine }, { streamState });
  await put(NO_STREAM, 0);
  await put(0n, 1);
  for (const wrong of [NO_STREAM, 0n, 5n]) {
    const error = await fails(put(wrong, 9), WrongExpectedVersionError);
    assert.equal(error.actualState, 1n);
  }
  assert.deepEqual((await client.getStreamMetadata(stream)).metadata, { mine: 1 });
});

check("a maximal count, a truncation and both hide events", async ({ client }) => {
  const stream = await written(client, 10);
  for (const [metadata, wanted] of [
    [{ maxCount: 2 }, [8, 9]],
    [{ truncateBefore: 7 }, [7, 8, 9]],
    [{ truncateBefore: 4, maxCount: 3 }, [7, 8, 9]],
    [{ truncateBefore: 9, maxCount: 3 }, [9]],
    [{ truncateBefore: 50 }, []],
    [{}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
  ]) {
    await client.setStreamMetadata(stream, metadata);
    assert.deepEqual(await revisions(client, stream), wanted);
  }
});

check("a maximal count set before holds for what comes", async ({ client }) => {
  const stream = newStream();
  await client.setStreamMetadata(stream, { maxCount: 2 });
  await client.appendToStream(stream, newEvents(20));
  assert.deepEqual(await revisions(client, stream, { maxCount: 200 }), [18, 19]);
});

check("events older than the maximal age are gone", async ({ client }) => {
  const stream = await written(client, 3);
  await client.setStreamMetadata(stream, { maxAge: 1 });
  const deadline = Date.now() + MS_TO_EXPIRE_MAX;
  while ((await revisions(client, stream)).length) {
    assert(Date.now() < deadline, "nothing expired");
    await pause(50);
  }
  await client.appendToStream(stream, newEvent());
  await client.setStreamMetadata(stream, { maxAge: 3_600 });
  assert.deepEqual(await revisions(client, stream), [0, 1, 2, 3]);
});

check("a subscription skips what metadata hides", async ({ client }) => {
  const stream = await written(client, 6);
  await client.setStreamMetadata(stream, { truncateBefore: 4 });
  const subscription = client.subscribeToStream(stream);
  const found = await take(subscription, 2);
  assert.deepEqual(found.map(({ event }) => event.revision), [4n, 5n]);
  await subscription.unsubscribe();
});
