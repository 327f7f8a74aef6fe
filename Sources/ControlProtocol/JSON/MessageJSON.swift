import FoundationEssentials
public import Rules

// What the daemon reports, as JSON: the API's `data` and what the command prints. Words are those of the REST contract;
// times are RFC 3339, counts integers.

/// An enum of the protocol whose values have words in JSON and on the command line.
public protocol WordedEnum: Sendable, Equatable {
  /// The words, the default first; a value's word is beside it.
  static var worded: [(word: String, value: Self)] { get }
}

extension WordedEnum {
  public static var words: [String] { worded.map(\.word) }

  /// Nil: no such word.
  public init?(word: String) {
    guard let entry = Self.worded.first(where: { $0.word == word }) else { return nil }
    self = entry.value
  }

  /// UNSPECIFIED and numbers of newer versions have the default's word.
  public var word: String { Self.worded.first { $0.value == self }?.word ?? Self.worded[0].word }
}

extension Sluice_Control_V1_AttachMode: WordedEnum {
  public static var worded: [(word: String, value: Self)] { [("auto", .auto), ("native", .native), ("generic", .generic)] }
}

extension Sluice_Control_V1_ZeroCopy: WordedEnum {
  public static var worded: [(word: String, value: Self)] { [("auto", .auto), ("required", .required), ("off", .off)] }
}

extension Sluice_Control_V1_Coexistence: WordedEnum {
  public static var worded: [(word: String, value: Self)] {
    [("auto", .auto), ("exclusive", .exclusive), ("dispatcher", .dispatcher)]
  }
}

extension Sluice_Control_V1_CaptureState: WordedEnum {
  public static var worded: [(word: String, value: Self)] {
    [("running", .running), ("finished", .finished), ("failed", .failed)]
  }
}

extension Sluice_Control_V1_WaitMode: WordedEnum {
  public static var worded: [(word: String, value: Self)] {
    [("default", .unspecified), ("adaptive", .adaptive), ("spin", .spin), ("block", .block)]
  }
}

extension Sluice_Control_V1_AttachOptions {
  /// Of the words for its fields; a word that is none leaves the default.
  public init(
    mode: String, zeroCopy: String, coexistence: String, captureFallback: Fate, keepOnExit: Bool,
    worker: Sluice_Control_V1_WorkerOptions = .init()
  ) {
    self.init()
    self.mode = .init(word: mode) ?? .auto
    self.zeroCopy = .init(word: zeroCopy) ?? .auto
    self.coexistence = .init(word: coexistence) ?? .auto
    self.captureFallback = .init(captureFallback)
    self.keepOnExit = keepOnExit
    if worker != .init() { self.worker = worker }
  }

  public var json: JSONValue {
    [
      "mode": .string(mode.word), "zero_copy": .string(zeroCopy.word), "coexistence": .string(coexistence.word),
      "capture_fallback": captureFallback == .drop ? "drop" : "pass", "keep_on_exit": .bool(keepOnExit),
      "worker": worker.json,
    ]
  }
}

extension Sluice_Control_V1_QueueState {
  public var json: JSONValue {
    [
      "queue": .count(queue), "zero_copy": .bool(zeroCopy), "cpu": .count(cpu), "numa_node": .count(numaNode),
      "huge_pages": .bool(hugePages), "frames_total": .count(framesTotal), "frames_pool": .count(framesPool),
      "frames_fill": .count(framesFill), "frames_in_flight": .count(framesInFlight), "frames_lent": .count(framesLent),
      "received_packets": .count(receivedPackets), "received_bytes": .count(receivedBytes),
      "rx_dropped": .count(rxDropped), "rx_invalid_descs": .count(rxInvalidDescs), "rx_ring_full": .count(rxRingFull),
      "rx_fill_ring_empty_descs": .count(rxFillRingEmptyDescs),
    ]
  }
}

extension Sluice_Control_V1_Attachment {
  public var json: JSONValue {
    [
      "interface": .string(interface), "options": options.json, "mode": .string(mode.word),
      "fallback_reason": .string(fallbackReason), "dispatcher": .bool(dispatcher), "program_id": .count(programID),
      "generation": .count(generation), "rule_set": ruleSet.isEmpty ? .null : .string(ruleSet),
      "revision": .count(revision), "queues": .array(queues.map(\.json)), "warnings": .strings(warnings),
      "attached_at": .time(unixNanoseconds: attachedAtUnixNanos),
      "confirm_by": confirmByUnixNanos == 0 ? .null : .time(unixNanoseconds: confirmByUnixNanos),
      "previous_rule_set": previousRuleSet.isEmpty ? .null : .string(previousRuleSet),
      "previous_revision": .count(previousRevision), "expiring_rules": .count(expiringRules),
      "next_expiry": .time(unixNanoseconds: nextExpiryUnixNanos), "expired_rules": .count(expiredRules),
      "expiring_elements": .count(expiringElements), "expired_elements": .count(expiredElements),
    ]
  }
}

extension Sluice_Control_V1_Interface {
  public var json: JSONValue {
    [
      "name": .string(name), "index": .count(index), "mac": .string(mac), "mtu": .count(mtu), "up": .bool(up),
      "carrier": .bool(carrier), "rx_queues": .count(rxQueues), "driver": .string(driver),
      "numa_node": .count(numaNode), "foreign_program_id": .count(foreignProgramID),
      "attachment": hasAttachment ? attachment.json : .null,
    ]
  }
}

extension Sluice_Control_V1_Counter {
  public var json: JSONValue { ["packets": .count(packets), "bytes": .count(bytes)] }
}

extension Sluice_Control_V1_InterfaceCounters {
  public var json: JSONValue {
    [
      "interface": .string(interface), "rule_set": ruleSet.isEmpty ? .null : .string(ruleSet),
      "revision": .count(revision), "generation": .count(generation),
      "rules": .array(
        rules.map { rule in
          [
            "rule": .string(rule.rule), "action": .string(rule.action), "packets": .count(rule.counter.packets),
            "bytes": .count(rule.counter.bytes),
          ]
        }),
      "actions": .object(actions.mapValues(\.json)), "events": .object(events.mapValues(\.json)),
      "malformed": .object(malformed.mapValues(\.json)),
    ]
  }
}

extension Sluice_Control_V1_GetStatusResponse {
  public var json: JSONValue {
    [
      "version": .string(version), "started_at": .time(unixNanoseconds: startedAtUnixNanos),
      "kernel": .string(kernel), "state_directory": .string(stateDirectory), "bpffs": .string(bpffs),
      "attachments": .array(attachments.map(\.json)), "wires": .array(wires.map(\.json)),
      "running_captures": .count(captures.count { $0.state == .running }),
      "limits": .object(limits.mapValues { .count($0) }),
      "features": .object(features.mapValues(JSONValue.string)),
    ]
  }
}

extension Sluice_Control_V1_ApplyResponse {
  /// Of one node, the local one.
  public func json(ruleSet: String, revision: UInt64, isDryRun: Bool) -> JSONValue {
    [
      "rule_set": .string(ruleSet), "revision": .count(revision), "dry_run": .bool(isDryRun),
      "results": .array(
        results.map { result in
          [
            "node": "local", "interface": .string(result.interface), "generation": .count(result.generation),
            "entries": .count(result.entries), "self_test_packets": .count(result.selfTestPackets),
            "apply_seconds": .number(result.applySeconds), "in_place": .bool(result.inPlace),
          ]
        }),
      "warnings": .strings(warnings),
      "confirm_by": confirmByUnixNanos == 0 ? .null : .time(unixNanoseconds: confirmByUnixNanos),
    ]
  }
}

extension Sluice_Control_V1_Capture {
  /// As the daemon knows it: without the API's id and author.
  public var json: JSONValue {
    [
      "id": .string(id), "node": "local", "interface": .string(request.interface), "daemon_id": .string(id),
      "state": .string(state.word), "error": .string(error), "packets_received": .count(packetsReceived),
      "packets_written": .count(packetsWritten), "packets_sampled_out": .count(packetsSampledOut),
      "packets_filtered_out": .count(packetsFilteredOut), "packets_dropped": .count(packetsDropped),
      "packets_lost_by_kernel": .count(packetsLostByKernel), "bytes_written": .count(bytesWritten),
      "files": .strings(files), "stream": .bool(stream), "started_at": .time(unixNanoseconds: startedAtUnixNanos),
      "finished_at": .time(unixNanoseconds: finishedAtUnixNanos), "path": .string(request.path),
      "snap_length": .count(request.snapLength), "sample_every": .count(request.sampleEvery),
      "packet_limit": .count(request.packetLimit), "byte_limit": .count(request.byteLimit),
      "duration_ms": .count(request.durationMillis), "file_byte_limit": .count(request.fileByteLimit),
      "file_count": .count(request.fileCount), "rules": .strings(request.rules),
    ]
  }
}

extension Sluice_Control_V1_Event {
  /// Of the local node, without the API's number.
  public var json: JSONValue {
    [
      "type": .string(kind), "node": "local", "interface": interface.isEmpty ? .null : .string(interface),
      "rule_set": fields["rule_set"].map { $0.isEmpty ? .null : .string($0) } ?? .null, "message": .string(message),
      "fields": .object(fields.mapValues(JSONValue.string)), "at": .time(unixNanoseconds: timeUnixNanos),
      "sequence": .count(sequence),
    ]
  }
}

extension JSONValue {
  /// Nanoseconds since 1970, 0 for "not known".
  public static func time(unixNanoseconds: UInt64) -> JSONValue {
    guard unixNanoseconds > 0 else { return .null }
    let date = Date(timeIntervalSince1970: Double(unixNanoseconds) / 1e9)
    return .string(date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
  }
}
