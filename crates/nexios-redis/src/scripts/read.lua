-- KEYS: the stream. ARGV: an epoch for a stream that begins; the server's replication id as the caller knows it; how many messages,
-- bytes and milliseconds are kept; the position that is asked for, its epoch (empty for none) and offset.
-- Answers with the epoch, the newest offset, the floor, why something is missing ('', 'epoch', 'trimmed'), the time, and
-- the entries behind the floor.
local stream = load(ARGV[1], ARGV[2])
local epoch, since = ARGV[6], tonumber(ARGV[7])
local gone = trim(stream, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), {})
if stream.changed then
  -- A server without memory can still be read. The position of a stream that has just begun would not be worth anything.
  local written = redis.pcall('HSET', key, 'm', meta(stream))
  if type(written) == 'table' and written.err then
    if stream.epoch == ARGV[1] then return written end
    gone = {}
  end
end
call_with('HDEL', gone)
redis.call('PEXPIRE', key, ARGV[5])

local floor, missing = stream.floor, ''
if epoch ~= '' then
  -- A position behind the end is not of this stream, whatever its epoch: whoever asks may have made it up.
  if epoch ~= stream.epoch or since > stream.last then
    missing = 'epoch'
  elseif since < stream.floor then
    missing = 'trimmed'
  else
    floor = since
  end
end

local answer = { stream.epoch, stream.last, floor, missing, now }
for first = floor + 1, stream.last, 500 do
  local offsets = {}
  for offset = first, math.min(first + 499, stream.last) do offsets[#offsets + 1] = offset end
  for _, entry in ipairs(redis.call('HMGET', key, unpack(offsets))) do answer[#answer + 1] = entry end
end
return answer
