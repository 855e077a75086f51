-- How many members each of these sorted sets has.
local sizes = {}
for number, set in ipairs(KEYS) do sizes[number] = redis.call('ZCARD', set) end
return sizes
