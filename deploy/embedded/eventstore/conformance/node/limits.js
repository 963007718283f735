"use strict";
// Events and appends at and past their limits; the node lives on.

const {
  MaxAppendSizeExceededError, StreamNotFoundError, assert, binaryEvent, check, collect, fails,
  newEvent, newEvents, newStream,
} = require("./suite");

const EVENT_BYTES_MAX = 16 * 1024 * 1024;
const WAYS = [{}, { credentials: { username: "admin", password: "changeit" } }];

const sized = (bytes) => binaryEvent({ type: "Big", data: Buffer.alloc(bytes, 7) });

async function livesOn(client) {
  const stream = newStream();
  await client.appendToStream(stream, newEvent());
  assert.equal((await collect(client.readStream(stream))).length, 1);
}

check("an event of sixteen mebibytes is kept", async ({ client }) => {
  for (const way of WAYS) {
    const stream = newStream();
    await client.appendToStream(stream, sized(EVENT_BYTES_MAX), way);
    const [{ event }] = await collect(client.readStream(stream));
    assert.equal(event.data.length, EVENT_BYTES_MAX);
    assert(Buffer.from(event.data).every((byte) => byte === 7));
  }
});

check("an event past sixteen mebibytes is refused", async ({ client }) => {
  for (const way of WAYS) {
    const stream = newStream();
    const append = client.appendToStream(stream, sized(EVENT_BYTES_MAX + 1), way);
    const error = await fails(append, MaxAppendSizeExceededError);
    assert.equal(error.maxAppendSize, EVENT_BYTES_MAX);
    await fails(collect(client.readStream(stream)), StreamNotFoundError);
    await livesOn(client);
  }
});

check("an append past its limits is refused whole", async ({ client }) => {
  const large = Array.from({ length: 9 }, () => sized(8 * 1024 * 1024));
  for (const events of [large, newEvents(40_000)]) {
    for (const way of WAYS) {
      const stream = newStream();
      const append = client.appendToStream(stream, events, { ...way, deadline: 60_000 });
      const error = await fails(append, MaxAppendSizeExceededError);
      assert.equal(typeof error.maxAppendSize, "number");
      await fails(collect(client.readStream(stream)), StreamNotFoundError);
      await livesOn(client);
    }
  }
});
