-- Applies one batch of views and deletions, if the checkpoint is where the batch begins and is the caller's.
-- Returns 1, or 0 when it is elsewhere and nothing was written.
--
-- KEYS: checkpoint, views, hours, deleted, stopped. All other keys begin with the prefix in ARGV[1]
-- and share its hash tag, so that they live in the same slot.
-- ARGV: prefix, epoch, from ('' at the beginning), to, caught up (0 or 1), hours kept, seconds that sessions
-- are kept, last event ('' if none), holder, events of ours in the batch; then per change five values: what,
-- video, day, hour, id or reason.

local prefix = ARGV[1]
local checkpoint, views, hours, deleted, stopped = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local epoch = redis.call('HGET', checkpoint, 'epoch')
local commit = redis.call('HGET', checkpoint, 'commit') or ''
local holder = redis.call('HGET', checkpoint, 'holder')
if epoch ~= ARGV[2] or commit ~= ARGV[3] or holder ~= ARGV[9] then
  return 0
end

for i = 11, #ARGV, 5 do
  local what, video, day, hour, detail = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if what == 'forget' then
    -- As if nothing had ever been counted for it. Sessions have a line of their own per day.
    redis.call('HDEL', stopped, video)
    redis.call('SREM', deleted, video)
    redis.call('HDEL', views, video)
    for _, each in ipairs(redis.call('ZRANGE', hours, 0, -1)) do
      redis.call('ZREM', prefix .. 'hour:' .. each, video)
    end
  elseif what == 'forget day' then
    redis.call('DEL', prefix .. 'sessions:' .. video .. ':' .. day)
  elseif redis.call('HEXISTS', stopped, video) == 0 then
    if what == 'view' then
      if redis.call('SISMEMBER', deleted, video) == 0 then
        local sessions = prefix .. 'sessions:' .. video .. ':' .. day
        if redis.call('SADD', sessions, detail) == 1 then
          redis.call('HINCRBY', views, video, 1)
          redis.call('ZINCRBY', prefix .. 'hour:' .. hour, 1, video)
          redis.call('ZADD', hours, hour, hour)
        end
        redis.call('EXPIRE', sessions, ARGV[7])
      end
    elseif what == 'delete' then
      redis.call('SADD', deleted, video)
      redis.call('HDEL', views, video)
      for _, each in ipairs(redis.call('ZRANGE', hours, 0, -1)) do
        redis.call('ZREM', prefix .. 'hour:' .. each, video)
      end
    elseif what == 'stop' then
      redis.call('HSET', stopped, video, detail)
    end
  end
end

-- Hours grow old by event time, so that a rebuild lets go of the same ones.
local newest = redis.call('ZREVRANGE', hours, 0, 0)[1]
if newest then
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', hours, '-inf', newest - ARGV[6])) do
    redis.call('DEL', prefix .. 'hour:' .. old)
    redis.call('ZREM', hours, old)
  end
end

if ARGV[4] ~= '' then
  redis.call('HSET', checkpoint, 'commit', ARGV[4])
end
if ARGV[8] ~= '' then
  redis.call('HSET', checkpoint, 'last_event', ARGV[8])
end
redis.call('HINCRBY', checkpoint, 'events', ARGV[10])
if ARGV[5] == '1' then
  redis.call('HSET', checkpoint, 'caught_up', '1')
end
return 1
