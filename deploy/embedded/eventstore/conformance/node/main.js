"use strict";
// Drives a node of the event store with the Node.js client `@kurrent/kurrentdb-client`.

require("./appends");
require("./reads");
require("./subscriptions");
require("./filters");
require("./restarts");
require("./deletes");
require("./metadata");
require("./links");
require("./limits");
require("./patience");
require("./connections");
const { run } = require("./suite");

run().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
