-- The epoch. KEYS: the epoch, the revocations by number. ARGV: the one to set if there is none.
-- The list of revocations carries a seal, and the epoch says so. An epoch without the list that it
-- belongs to counts as none: Redis has evicted the list, or somebody has removed it. An epoch of an
-- earlier version gets its seal now.
local SEAL, SEALED = 'seal', ',"sealed":true}'
local found = redis.call('GET', KEYS[1])
local has_seal = redis.call('ZSCORE', KEYS[2], SEAL)
if found and string.sub(found, -#SEALED) == SEALED then
  if has_seal then return found end
  found = nil
end
-- What is left of a list says less than it seems to; it stays all the same.
local epoch = string.sub(found or ARGV[1], 1, -2) .. SEALED
redis.call('ZADD', KEYS[2], 0, SEAL)
redis.call('SET', KEYS[1], epoch)
return epoch
