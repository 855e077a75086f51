-- The birth mark. KEYS: the mark. ARGV: the one to set if there is none.
local found = redis.call('GET', KEYS[1])
if found then return found end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
