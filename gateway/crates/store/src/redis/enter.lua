-- Enters records that are there in indexes, and leaves them as they are otherwise.
-- KEYS: the records. ARGV: what the names of indexes begin with, and of each record its key and the
-- names of its indexes as a JSON array. How many were not in all of theirs before.
local sets, entered = ARGV[1], 0
for _, record in ipairs(KEYS) do
  local fault = fault_of_indexes(record, sets)
  if fault then return fault end
end
for number, record in ipairs(KEYS) do
  local key, names = ARGV[2 * number], ARGV[2 * number + 1]
  local value = redis.pcall('HGET', record, 'value')
  if type(value) == 'string' then
    place_in_indexes(record, sets, key, names)
    if enter_indexes(record, sets, key) > 0 then entered = entered + 1 end
  end
end
return entered
