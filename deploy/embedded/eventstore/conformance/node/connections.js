"use strict";
// Ways to connect, and what is not served.

const {
  KurrentDBClient, START, assert, check, collect, connect, newEvent, newStream,
  persistentSubscriptionToAllSettingsFromDefaults: forAll,
  persistentSubscriptionToStreamSettingsFromDefaults: forStream,
} = require("./suite");
const { freePort } = require("./node");

// The numbers of two gRPC statuses.
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;

async function works(client) {
  const stream = newStream();
  await client.appendToStream(stream, newEvent());
  assert.equal((await collect(client.readStream(stream))).length, 1);
  await client.dispose();
}

check("every scheme connects", async ({ node }) => {
  for (const scheme of ["esdb", "kdb", "kurrentdb"]) {
    await works(connect(node, scheme));
    await works(connect(node, `${scheme}+discover`));
  }
});

check("the node is found among seeds that do not answer", async ({ node }) => {
  const seeds = `127.0.0.1:${await freePort()},127.0.0.1:${node.port}`;
  await works(KurrentDBClient.connectionString(`esdb://${seeds}?tls=false`));
});

check("the only node leads", async ({ node }) => {
  for (const preference of ["leader", "random", "follower"]) {
    await works(connect(node, "esdb+discover", `&nodePreference=${preference}`));
  }
});

check("options, names and credentials do no harm", async ({ node }) => {
  const options = "&connectionName=me&keepAliveInterval=1000&keepAliveTimeout=1000&defaultDeadline=30000";
  await works(connect(node, "esdb", options));
  const address = `esdb://admin:changeit@127.0.0.1:${node.port}?tls=false`;
  await works(KurrentDBClient.connectionString(address));
});

check("a call that asks for a leader is answered", async ({ client }) => {
  const stream = newStream();
  await client.appendToStream(stream, newEvent(), { requiresLeader: true });
  const read = await collect(client.readStream(stream, { requiresLeader: true }));
  assert.equal(read.length, 1);
});

check("nobody there is an error of that kind", async () => {
  const address = `esdb://127.0.0.1:${await freePort()}?tls=false&maxDiscoverAttempts=1`;
  const client = KurrentDBClient.connectionString(address);
  const append = client.appendToStream(newStream(), newEvent());
  const error = await append.then(() => undefined, (reason) => reason);
  assert.equal(error.code, UNAVAILABLE);
});

check("what is not served says so and breaks nothing", async ({ client }) => {
  const stream = newStream();
  for (const call of [
    () => client.createPersistentSubscriptionToAll("group", forAll({ startFrom: START })),
    () => client.createPersistentSubscriptionToStream(stream, "group", forStream()),
    () => client.deletePersistentSubscriptionToAll("group"),
    () => client.deletePersistentSubscriptionToStream(stream, "group"),
    () => client.listProjections(),
    () => client.getProjectionStatus("p"),
    () => client.restartSubsystem(),
  ]) {
    const error = await call().then(() => undefined, (reason) => reason);
    assert(error, "it was answered");
    assert(error.type === "unsupported" || error.code === UNIMPLEMENTED, `${error.type} ${error.message}`);
  }
  await client.appendToStream(stream, newEvent());
  assert.equal((await collect(client.readStream(stream))).length, 1);
});
