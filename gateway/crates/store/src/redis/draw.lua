-- Draws from a quota, by the clock of this server. `gateway-core` says the same in `limits/quota.rs`, with
-- the reasons; all numbers are whole, and below 2^53.
-- KEYS: what was drawn (a hash). ARGV: "rate", "day" or "total", how many, of a rate the period and the
-- burst, of a total for how long it is remembered, what is owed, what is wanted, by how much moments may
-- come in another order, how much longer Redis keeps all of this, of what multiples are of use, who draws
-- (hexadecimal; 0: somebody who asks once), which draw of theirs it is, of how many the last answer is kept.
-- Returns what is granted, what is used by now, how long until there is a step more, how long this is good.
local DAY, SECOND, MOST = 86400000, 1000, 4503599627370496
local kind, count, period, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local owed, wanted, skew, longer = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local step, holder, number, most = math.max(1, tonumber(ARGV[9])), ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', KEYS[1], 'level', 'at', 'answers')
local level, at = tonumber(found[1] or 0), tonumber(found[2] or now)

-- What those who drew last were answered last: "holder number granted ends;". A draw that was answered gets
-- that again; one that was overtaken gets nothing.
local answers, earlier = {}, nil
for answer in string.gmatch(found[3] or '', '[^;]+') do
  local who, which, granted, good = string.match(answer, '^(%x+) (%d+) (%d+) (%d+)$')
  if who ~= holder then
    table.insert(answers, answer)
  elseif number < tonumber(which) or number == tonumber(which) and now >= tonumber(good) then
    earlier = { 0, now }
  elseif number == tonumber(which) then
    earlier = { tonumber(granted), tonumber(good) }
  end
end
-- Whoever only looks leaves nothing behind.
local is_look = owed == 0 and wanted == 0 and holder == '0'
local asked = wanted
if earlier then owed, asked = 0, 0 end

local function granted_of(free)
  if asked <= free then return asked end
  return free - free % step
end

-- Keeps it all; what is granted and how long it is good.
local function keep(granted, good, milliseconds)
  if is_look then return granted, math.max(0, good - now) end
  redis.call('HSET', KEYS[1], 'level', string.format('%.0f', level), 'at', string.format('%.0f', at))
  if earlier then
    granted = earlier[1]
    if granted > 0 then good = math.min(good, earlier[2]) end
  elseif holder ~= '0' then
    if #answers >= most then table.remove(answers, 1) end
    table.insert(answers, string.format('%s %.0f %.0f %.0f', holder, number, granted, good))
    redis.call('HSET', KEYS[1], 'answers', table.concat(answers, ';'))
  end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', milliseconds + longer))
  return granted, math.max(0, good - now)
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
  local granted = granted_of(math.floor(math.max(0, full - level) / period))
  level = level + granted * period
  local lasts
  granted, lasts = keep(granted, now + period, math.ceil(level / count) + skew)
  local wait = 0
  if granted < wanted then
    wait = math.ceil(math.max(0, level + math.min(step, burst) * period - full) / count)
  end
  return { granted, math.ceil(level / period), wait, lasts }
end

local ends = now + period
if kind == 'day' then
  local today = now - now % DAY
  if not found[2] or at < today then
    level, at = 0, today
  elseif at > now + skew then
    at = today
  end
  ends = at + DAY
end
local used = math.min(MOST, level + owed)
local granted = granted_of(math.max(0, count - used))
level = math.min(MOST, used + granted)
local lasts
granted, lasts = keep(granted, ends, ends - now)
local wait = 0
if granted < wanted then wait = math.max(SECOND, ends - now) end
return { granted, level, wait, lasts }
