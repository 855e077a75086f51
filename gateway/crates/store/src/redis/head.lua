-- The epoch, the last number of the revocations, their digest with the number of what it covers, and how
-- many follow them.
-- KEYS: the epoch, the revocations by number, the last number, the digest. ARGV: the epoch to set if there
-- is none, the channel.
-- The list of revocations carries a seal, and the epoch says so. An epoch without the list that it
-- belongs to counts as none: Redis has evicted the list, or somebody has removed it. An epoch of an
-- earlier version gets its seal now.
local SEAL, SEALED = 'seal', ',"sealed":true}'
local found = redis.call('GET', KEYS[1])
local has_seal = redis.call('ZSCORE', KEYS[2], SEAL)
local epoch = found
if not (found and has_seal and string.sub(found, -#SEALED) == SEALED) then
  if found and string.sub(found, -#SEALED) == SEALED then found = nil end
  -- What is left of a list says less than it seems to; it stays all the same.
  epoch = string.sub(found or ARGV[1], 1, -2) .. SEALED
  redis.call('ZADD', KEYS[2], 0, SEAL)
  redis.call('SET', KEYS[1], epoch)
end
local last = redis.call('GET', KEYS[3])
if not last then last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] end
-- A user who may not ask for that is told of none.
local heard = redis.pcall('PUBSUB', 'NUMSUB', ARGV[2])
return { epoch, last or '0', redis.call('GET', KEYS[4]) or '', tonumber(heard[2]) or 0 }
