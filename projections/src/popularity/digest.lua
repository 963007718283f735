-- What the counters say, whatever the order: the commit position ('' at the beginning), then per part its
-- name, how many rows it has, and their digest.
--
-- KEYS: checkpoint, views, hours, deleted, stopped. ARGV: prefix.

-- 13 hexadecimal digits: sums of two such numbers are exact.
local function number(text)
  return tonumber(string.sub(redis.sha1hex(text), 1, 13), 16)
end

local parts = {}

local function add(name, count, sum)
  parts[#parts + 1] = { name, count, string.format('%.0f', sum) }
end

local function pairs_of(flat, before)
  local sum = 0
  for i = 1, #flat, 2 do
    sum = (sum + number(before .. flat[i] .. ' ' .. flat[i + 1])) % 4503599627370496
  end
  return #flat / 2, sum
end

add('views', pairs_of(redis.call('HGETALL', KEYS[2]), ''))
local rows, total = 0, 0
for _, hour in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local flat = redis.call('ZRANGE', ARGV[1] .. 'hour:' .. hour, 0, -1, 'WITHSCORES')
  local count, sum = pairs_of(flat, hour .. ' ')
  rows, total = rows + count, (total + sum) % 4503599627370496
end
add('hours', rows, total)
local sum, deleted = 0, redis.call('SMEMBERS', KEYS[4])
for _, video in ipairs(deleted) do
  sum = (sum + number(video)) % 4503599627370496
end
add('deleted', #deleted, sum)
add('stopped', pairs_of(redis.call('HGETALL', KEYS[5]), ''))
return { redis.call('HGET', KEYS[1], 'commit') or '', parts }
