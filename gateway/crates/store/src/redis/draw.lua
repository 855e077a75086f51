-- Draws from a quota, by the clock of this server. `gateway-core` says the same in `limits/quota.rs`, with
-- the reasons; all numbers are whole, and below 2^53.
-- KEYS: what was drawn (a hash). ARGV: "rate", "day" or "total", how many, of a rate the period and the
-- burst, of a total for how long it is remembered, what is owed, what is wanted, by how much moments may
-- come in another order, how much longer Redis keeps all of this.
-- Returns what is granted, what is used by now, how long until there is one more, how long this is good.
local DAY, SECOND, MOST = 86400000, 1000, 4503599627370496
local kind, count, period, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local owed, wanted, skew, longer = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(found[1] or 0), tonumber(found[2] or now)

local function keep(milliseconds)
  redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', at))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', milliseconds + longer))
end

if kind == 'rate' then
  if now >= at then
    level = math.max(0, level - math.min(MOST, (now - at) * count))
    at = now
  elseif at > now + skew then
    at = now
  end
  local full = burst * period
  level = math.min(MOST, level + math.min(owed, math.floor(MOST / period)) * period)
  local granted = math.min(wanted, math.floor(math.max(0, full - level) / period))
  level = level + granted * period
  local wait = 0
  if granted < wanted then wait = math.ceil(math.max(0, level + period - full) / count) end
  keep(math.ceil(level / count) + skew)
  return { granted, math.ceil(level / period), wait, period }
end

local ends, lasts = now + period, DAY
if kind == 'day' then
  local today = now - now % DAY
  if not found[2] or at < today then
    level, at = 0, today
  elseif at > now + skew then
    at = today
  end
  ends = at + DAY
  lasts = ends - now
end
local used = math.min(MOST, level + owed)
local granted = math.min(wanted, math.max(0, count - used))
level = math.min(MOST, used + granted)
local wait = 0
if granted < wanted then wait = math.max(SECOND, ends - now) end
keep(ends - now)
return { granted, level, wait, lasts }
