"use strict";
// Soft deletion with re-creation, and tombstones. (This client cannot say "stream exists" here.)

const {
  ANY, BACKWARDS, END, NO_STREAM, STREAM_EXISTS, StreamDeletedError, StreamNotFoundError,
  WrongExpectedVersionError, assert, check, collect, fails, ids, newEvent, newEvents, newStream,
} = require("./suite");

async function written(client, count = 4) {
  const stream = newStream();
  await client.appendToStream(stream, newEvents(count));
  return stream;
}

const reads = (client, stream) => [
  () => collect(client.readStream(stream)),
  () => collect(client.readStream(stream, { maxCount: 1, fromRevision: 1n })),
  () => collect(client.readStream(stream, { direction: BACKWARDS, fromRevision: END })),
];

async function gone(client, stream, kind) {
  for (const read of reads(client, stream)) {
    const error = await fails(read(), kind);
    assert.equal(error.streamName, stream);
  }
}

check("a stream is deleted at its revision or any", async ({ client }) => {
  for (const options of [{}, { expectedRevision: ANY }, { expectedRevision: 3n }]) {
    const stream = await written(client);
    const { position } = await client.deleteStream(stream, options);
    assert(position.commit > 0n);
    await gone(client, stream, StreamNotFoundError);
  }
});

check("a stream is not deleted at another revision", async ({ client }) => {
  for (const act of ["deleteStream", "tombstoneStream"]) {
    const stream = await written(client);
    for (const [expectedRevision, told] of [[2n, 2n], [9n, 9n], [NO_STREAM, -1n]]) {
      const error = await fails(client[act](stream, { expectedRevision }), WrongExpectedVersionError);
      assert.deepEqual([error.streamName, error.expectedState, error.actualState], [stream, told, 3n]);
    }
    assert.equal((await collect(client.readStream(stream))).length, 4);
  }
});

check("what never was is not deleted, what has metadata alone is", async ({ client }) => {
  for (const expectedRevision of [ANY, NO_STREAM]) {
    const error = await fails(client.deleteStream(newStream(), { expectedRevision }), WrongExpectedVersionError);
    assert.equal(error.actualState, -1n);
  }
  const stream = newStream();
  await client.setStreamMetadata(stream, { cacheControl: 10 });
  await client.deleteStream(stream, { expectedRevision: NO_STREAM });
});

check("a deleted stream goes on with its numbering", async ({ client }) => {
  for (const streamState of [NO_STREAM, ANY, 3n]) {
    const stream = await written(client);
    await client.deleteStream(stream);
    const wrong = client.appendToStream(stream, newEvent(), { streamState: 1n });
    await fails(wrong, WrongExpectedVersionError);
    const missing = client.appendToStream(stream, newEvent(), { streamState: STREAM_EXISTS });
    await fails(missing, StreamDeletedError);
    const events = newEvents(2);
    const { nextExpectedRevision } = await client.appendToStream(stream, events, { streamState });
    assert.equal(nextExpectedRevision, 5n);
    const read = await collect(client.readStream(stream));
    assert.deepEqual(ids(read), ids(events));
    assert.equal(read[0].event.revision, 4n);
  }
});

check("a deleted stream may be deleted again, and tombstoned", async ({ client }) => {
  const stream = await written(client);
  await client.deleteStream(stream);
  await client.deleteStream(stream, { expectedRevision: 3n });
  await client.tombstoneStream(stream);
  await gone(client, stream, StreamDeletedError);
});

check("a tombstone is for ever", async ({ client }) => {
  const stream = await written(client);
  const { position } = await client.tombstoneStream(stream, { expectedRevision: 3n });
  assert(position.commit > 0n);
  await gone(client, stream, StreamDeletedError);
  for (const credentials of [undefined, { username: "admin", password: "changeit" }]) {
    for (const streamState of [ANY, NO_STREAM, STREAM_EXISTS, 3n]) {
      const append = client.appendToStream(stream, newEvents(2), { streamState, credentials });
      const error = await fails(append, StreamDeletedError);
      assert.equal(error.streamName, stream);
    }
  }
  for (const act of ["deleteStream", "tombstoneStream"]) {
    const error = await fails(client[act](stream), StreamDeletedError);
    assert.equal(error.streamName, stream);
  }
});

check("what never was may be tombstoned", async ({ client }) => {
  const stream = newStream();
  await client.tombstoneStream(stream, { expectedRevision: NO_STREAM });
  await gone(client, stream, StreamDeletedError);
});

check("an error about a stream whose name is not ASCII is still of its kind", async ({ client }) => {
  const stream = await (async () => {
    const name = newStream("поток 🎞");
    await client.appendToStream(name, newEvent());
    return name;
  })();
  await fails(client.deleteStream(stream, { expectedRevision: 7n }), WrongExpectedVersionError);
  await client.tombstoneStream(stream);
  await fails(client.deleteStream(stream), StreamDeletedError);
  const credentials = { username: "admin", password: "changeit" };
  await fails(client.appendToStream(stream, newEvent(), { credentials }), StreamDeletedError);
});
