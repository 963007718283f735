"use strict";
// Catch-up subscriptions to a stream and to the whole log.

const { once } = require("node:events");
const { Writable } = require("node:stream");
const { pipeline } = require("node:stream/promises");
const {
  END, START, StreamDeletedError, assert, check, ids, newEvent, newEvents, newStream, take,
  withOwnNode,
} = require("./suite");

check("a stream is followed from its start, a revision and its end", async ({ client }) => {
  for (const [fromRevision, skipped] of [[START, 0], [1n, 2], [3n, 4], [END, 4]]) {
    const stream = newStream();
    const events = newEvents(6);
    await client.appendToStream(stream, events.slice(0, 4));
    const subscription = client.subscribeToStream(stream, { fromRevision });
    await once(subscription, "confirmation");
    await client.appendToStream(newStream(), newEvents(2));
    await client.appendToStream(stream, events.slice(4));
    const found = await take(subscription, 6 - skipped);
    assert.deepEqual(ids(found), ids(events.slice(skipped)));
    await subscription.unsubscribe();
  }
});

check("a stream is followed before it begins", async ({ client }) => {
  for (const fromRevision of [START, END]) {
    const stream = newStream();
    const subscription = client.subscribeToStream(stream, { fromRevision });
    await once(subscription, "confirmation");
    const events = newEvents(2);
    await client.appendToStream(stream, events);
    assert.deepEqual(ids(await take(subscription, 2)), ids(events));
    await subscription.unsubscribe();
  }
});

check("the log is followed from a position and its end", async ({ client }) => {
  const events = newEvents(5);
  const { position } = await client.appendToStream(newStream(), events[0]);
  await client.appendToStream(newStream(), events.slice(1, 3));
  for (const [fromPosition, first] of [[position, 1], [END, 3]]) {
    const subscription = client.subscribeToAll({ fromPosition });
    await once(subscription, "confirmation");
    const wanted = first === 1 ? events.slice(1, 3) : events.slice(3);
    if (first === 3) await client.appendToStream(newStream(), wanted);
    assert.deepEqual(ids(await take(subscription, 2)), ids(wanted));
    await subscription.unsubscribe();
  }
});

check("the log is followed from its start, also before it begins", async () => {
  await withOwnNode(async (_, client) => {
    const events = newEvents(4);
    const early = client.subscribeToAll();
    await once(early, "confirmation");
    await client.appendToStream(newStream(), events.slice(0, 2));
    const late = client.subscribeToAll({ fromPosition: START });
    await client.appendToStream(newStream(), events.slice(2));
    for (const subscription of [early, late]) {
      const found = [];
      while (found.length < 4) {
        const [next] = await take(subscription, 1);
        if (!next.event.type.startsWith("$")) found.push(next);
      }
      assert.deepEqual(ids(found), ids(events));
      await subscription.unsubscribe();
    }
  });
});

check("caught up comes once, after history and before news", async ({ client }) => {
  for (const [follow, history] of [
    [(of) => client.subscribeToStream(of), 4],
    [(of) => client.subscribeToStream(of, { fromRevision: 2n }), 1],
    [(of) => client.subscribeToStream(of, { fromRevision: END }), 0],
    [() => client.subscribeToAll({ fromPosition: END }), 0],
  ]) {
    const stream = newStream();
    await client.appendToStream(stream, newEvents(4));
    const subscription = follow(stream);
    const told = [];
    const events = newEvents(3);
    const last = new Promise((resolve) => {
      subscription.on("data", ({ event }) => {
        told.push(event.id);
        if (event.id === events[2].id) resolve();
      });
    });
    subscription.on("caughtUp", () => told.push("caught up"));
    await once(subscription, "caughtUp");
    await client.appendToStream(stream, events);
    await last;
    assert.deepEqual(told.slice(history), ["caught up", ...ids(events)]);
    await subscription.unsubscribe();
  }
});

check("a subscription says it is confirmed, and ends without an error when it is left", async ({ client }) => {
  for (const follow of [() => client.subscribeToStream(newStream()), () => client.subscribeToAll()]) {
    const subscription = follow();
    const errors = [];
    subscription.on("error", (error) => errors.push(error)).on("data", () => {});
    await once(subscription, "confirmation");
    assert(subscription.id);
    const end = once(subscription, "end");
    await subscription.unsubscribe();
    await end;
    assert.deepEqual(errors, []);
  }
});

check("a subscription is iterated and piped", async ({ client }) => {
  const stream = newStream();
  const events = newEvents(9);
  await client.appendToStream(stream, events);
  const iterated = [];
  for await (const event of client.subscribeToStream(stream)) {
    if (iterated.push(event) === 9) break;
  }
  assert.deepEqual(ids(iterated), ids(events));
  const subscription = client.subscribeToStream(stream);
  const piped = [];
  const sink = new Writable({
    objectMode: true,
    write(event, _, done) {
      if (piped.push(event) < 9) return done();
      subscription.unsubscribe().then(() => done());
    },
  });
  await pipeline(subscription, sink);
  assert.deepEqual(ids(piped), ids(events));
});

check("a slow consumer gets everything in order and holds up nobody", async ({ client }) => {
  const stream = newStream();
  const slow = client.subscribeToStream(stream);
  await once(slow, "confirmation");
  const wanted = [];
  for (let round = 0; round < 20; round++) {
    const events = Array.from({ length: 100 }, () => newEvent("Big", "x".repeat(8_000)));
    await client.appendToStream(stream, events);
    wanted.push(...ids(events));
  }
  const quick = client.subscribeToStream(stream);
  assert.deepEqual(ids(await take(quick, 2_000)), wanted);
  assert.deepEqual(ids(await take(slow, 2_000)), wanted);
  await quick.unsubscribe();
  await slow.unsubscribe();
});

check("a tombstone ends the subscriptions of its stream", async ({ client }) => {
  const stream = newStream();
  await client.appendToStream(stream, newEvent());
  const open = client.subscribeToStream(stream).on("data", () => {});
  await once(open, "caughtUp");
  const error = once(open, "error");
  await client.tombstoneStream(stream);
  const late = client.subscribeToStream(stream).on("data", () => {});
  for (const [found] of await Promise.all([error, once(late, "error")])) {
    assert(found instanceof StreamDeletedError, found);
    assert.equal(found.streamName, stream);
  }
});

check("many subscriptions get the same", async ({ client }) => {
  const stream = newStream();
  const events = newEvents(20);
  const subscriptions = Array.from({ length: 50 }, () => client.subscribeToStream(stream));
  const taken = subscriptions.map((subscription) => take(subscription, 20));
  await client.appendToStream(stream, events);
  for (const found of await Promise.all(taken)) assert.deepEqual(ids(found), ids(events));
  await Promise.all(subscriptions.map((subscription) => subscription.unsubscribe()));
});
