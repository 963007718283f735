"use strict";
// Filters of subscriptions to, and reads of, the whole log; and their checkpoints.

const { setTimeout: pause } = require("node:timers/promises");
const {
  BACKWARDS, END, assert, check, collect, eventTypeFilter, excludeSystemEvents, ids, newEvent,
  newEvents, newStream, streamNameFilter, take,
} = require("./suite");

check("a subscription filters by type and by stream, with expressions and prefixes", async ({ client }) => {
  const mark = newStream("mark");
  const { position } = await client.appendToStream(newStream(), newEvent());
  const wanted = newEvents(3, `${mark}_type`);
  for (const event of wanted) {
    await client.appendToStream(newStream("other"), newEvents(40, "Unwanted"));
    await client.appendToStream(`${mark}_stream`, event);
  }
  for (const filter of [
    eventTypeFilter({ prefixes: [mark] }),
    eventTypeFilter({ prefixes: ["nothing", mark] }),
    eventTypeFilter({ regex: `^${mark}_[a-z]*$` }),
    eventTypeFilter({ regex: "^(?!Unwanted|Happened|\\$).*_type$" }),
    streamNameFilter({ prefixes: [mark] }),
    streamNameFilter({ regex: `${mark}_str` }),
  ]) {
    const subscription = client.subscribeToAll({ fromPosition: position, filter });
    assert.deepEqual(ids(await take(subscription, 3)), ids(wanted));
    await subscription.unsubscribe();
  }
});

check("a read of the log is filtered, in both directions and to a limit", async ({ client }) => {
  const mark = newStream("mark");
  const wanted = newEvents(4, mark);
  for (const event of wanted) {
    await client.appendToStream(newStream(), [...newEvents(300, "Between"), event]);
  }
  const filter = eventTypeFilter({ regex: `^${mark}$` });
  assert.deepEqual(ids(await collect(client.readAll({ filter }))), ids(wanted));
  assert.deepEqual(ids(await collect(client.readAll({ filter, maxCount: 2 }))), ids(wanted.slice(0, 2)));
  const backwards = { filter, direction: BACKWARDS, fromPosition: END, maxCount: 3 };
  assert.deepEqual(ids(await collect(client.readAll(backwards))), ids(wanted).reverse().slice(0, 3));
});

check("what the system wrote is left out on request", async ({ client }) => {
  const stream = newStream();
  const { position } = await client.appendToStream(stream, newEvent("First"));
  await client.setStreamMetadata(stream, { maxCount: 5 });
  await client.appendToStream(stream, [newEvent("$own"), newEvent("Last")]);
  const excluding = client.subscribeToAll({ fromPosition: position, filter: excludeSystemEvents() });
  assert.equal((await take(excluding, 1))[0].event.type, "Last");
  const everything = client.subscribeToAll({ fromPosition: position });
  const types = (await take(everything, 3)).map(({ event }) => event.type);
  assert.deepEqual(types, ["$metadata", "$own", "Last"]);
  await excluding.unsubscribe();
  await everything.unsubscribe();
});

check("a checkpoint comes every 32 events times its interval, and waits for its reader", async ({ client }) => {
  const { position } = await client.appendToStream(newStream(), newEvent());
  const checkpoints = [];
  let busy = false;
  const filter = excludeSystemEvents({
    checkpointInterval: 2,
    async checkpointReached(_, at) {
      checkpoints.push(at.commit);
      busy = true;
      await pause(20);
      busy = false;
    },
  });
  await client.appendToStream(newStream(), newEvents(8));
  const subscription = client.subscribeToAll({ fromPosition: position, filter });
  const seen = [];
  const finished = new Promise((resolve) => {
    subscription.on("data", ({ event }) => {
      assert.equal(busy, false);
      seen.push(event.position.commit);
      if (event.type === "Finished") resolve();
    });
  });
  for (let round = 0; round < 18; round++) await client.appendToStream(newStream(), newEvents(20));
  await client.appendToStream(newStream(), [...newEvents(15), newEvent("Finished")]);
  await finished;
  await subscription.unsubscribe();
  assert.equal(seen.length, 384);
  assert(checkpoints.length >= 5 && checkpoints.length <= 8, `${checkpoints.length} checkpoints`);
  const sorted = [...checkpoints].sort((one, other) => (one < other ? -1 : 1));
  assert.deepEqual(checkpoints, sorted);
  assert(seen.includes(checkpoints[0]));
});

check("a subscription that gets nothing is told how far it is", async ({ client }) => {
  const { position } = await client.appendToStream(newStream(), newEvent());
  let reach;
  const reached = new Promise((resolve) => (reach = resolve));
  const last = await client.appendToStream(newStream(), newEvents(100, "Unwanted"));
  const filter = eventTypeFilter({
    prefixes: ["NothingHasThisType"],
    maxSearchWindow: 10,
    checkpointInterval: 1,
    checkpointReached: (_, at) => at.commit >= last.position.commit && reach(at),
  });
  const subscription = client.subscribeToAll({ fromPosition: position, filter });
  subscription.on("data", () => reach(undefined));
  assert.deepEqual(await reached, last.position);
  await subscription.unsubscribe();
});
