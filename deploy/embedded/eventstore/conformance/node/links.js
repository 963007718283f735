"use strict";
// Links: events of type `$>` that stand for `revision@stream`.

const { assert, binaryEvent, check, collect, ids, newEvents, newStream, take } = require("./suite");

const link = (target) => binaryEvent({ type: "$>", data: Buffer.from(target) });

// A stream of links to every second event of another, and those events.
async function linked(client) {
  const [target, stream] = [newStream("with@at"), newStream("links")];
  const events = newEvents(4);
  await client.appendToStream(target, events);
  const links = [link(`0@${target}`), link(`2@${target}`)];
  await client.appendToStream(stream, links);
  return { target, stream, links, events: [events[0], events[2]] };
}

check("a link is an event like any other until it is resolved", async ({ client }) => {
  const { stream, links } = await linked(client);
  const read = await collect(client.readStream(stream));
  assert.deepEqual(ids(read), ids(links));
  assert.deepEqual(read.map(({ event, link: via }) => [event.type, via]), [["$>", undefined], ["$>", undefined]]);
});

check("a resolved link is the event it stands for, and itself", async ({ client }) => {
  const { target, stream, links, events } = await linked(client);
  const read = await collect(client.readStream(stream, { resolveLinkTos: true }));
  assert.deepEqual(ids(read), ids(events));
  const plain = await collect(client.readStream(target));
  assert.deepEqual(read[1].event, plain[2].event);
  assert.deepEqual(read.map(({ link: via }) => via.id), ids(links));
  assert.deepEqual(read.map(({ link: via }) => via.streamId), [stream, stream]);
});

check("links are resolved in the log and in subscriptions", async ({ client }) => {
  const { stream, links, events } = await linked(client);
  const [first] = await collect(client.readStream(stream, { maxCount: 1 }));
  const fromPosition = first.event.position;
  const read = await collect(client.readAll({ fromPosition, maxCount: 2, resolveLinkTos: true }));
  assert.deepEqual(ids(read), ids(events));
  const subscription = client.subscribeToStream(stream, { resolveLinkTos: true });
  const followed = await take(subscription, 2);
  assert.deepEqual(ids(followed), ids(events));
  assert.deepEqual(followed.map(({ link: via }) => via.id), ids(links));
  await subscription.unsubscribe();
});

check("a link to what is gone comes without its event", async ({ client }) => {
  const { target, stream } = await linked(client);
  await client.deleteStream(target);
  const more = [link(`7@${newStream()}`), link("no link at all")];
  await client.appendToStream(stream, more);
  const read = await collect(client.readStream(stream, { resolveLinkTos: true }));
  assert.equal(read.length, 4);
  for (const { event, link: via } of read) {
    assert.equal(event, undefined);
    assert.equal(via.type, "$>");
  }
});
