"use strict";
// Checks, spoken as TAP on standard output. A check is a sentence and a function that fails by
// throwing.

// Runs one check of those that were planned; whether it passed.
async function judge(number, sentence, secondsMax, run) {
  try {
    await inTime(secondsMax, run());
    console.log(`ok ${number} - ${sentence}`);
    return true;
  } catch (error) {
    console.log(`not ok ${number} - ${sentence}`);
    for (const line of reasons(error)) console.log(`# ${line}`);
    return false;
  }
}

function plan(checks) {
  console.log(`1..${checks}`);
}

// Also fails when nothing happens for too long, and when an error is thrown where nobody waits.
function inTime(secondsMax, promise) {
  let fail;
  const failed = new Promise((_, reject) => (fail = reject));
  const late = new Error(`the check took longer than ${secondsMax} s`);
  const timer = setTimeout(() => fail(late), secondsMax * 1000);
  process.on("uncaughtException", fail);
  return Promise.race([promise, failed]).finally(() => {
    clearTimeout(timer);
    process.off("uncaughtException", fail);
  });
}

// What went wrong, and the lines of ours that led there.
function reasons(error) {
  const lines = String(error.stack ?? error).split("\n");
  const isFrame = (line) => line.trimStart().startsWith("at ");
  const isOurs = (line) => line.includes("conformance") && !line.includes("node_modules");
  const message = lines.filter((line) => !isFrame(line)).slice(0, 12);
  return [...message, ...lines.filter((line) => isFrame(line) && isOurs(line))];
}

module.exports = { judge, plan };
