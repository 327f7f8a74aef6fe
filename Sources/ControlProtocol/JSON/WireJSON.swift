// Wires and flows, as JSON.

extension Sluice_Control_V1_WirePath: WordedEnum {
  public static var worded: [(word: String, value: Self)] { [("auto", .auto), ("kernel", .kernel), ("user", .user)] }
}

extension Sluice_Control_V1_LiveFrames: WordedEnum {
  public static var worded: [(word: String, value: Self)] { [("auto", .auto), ("off", .off), ("required", .required)] }
}

extension Sluice_Control_V1_FlowOrder: WordedEnum {
  public static var worded: [(word: String, value: Self)] { [("bytes", .bytes), ("packets", .packets)] }
}

extension Sluice_Control_V1_WorkerOptions {
  public var json: JSONValue {
    ["wait": .string(wait.word), "batch": .count(batch), "ring_entries": .count(ringEntries)]
  }
}

extension Sluice_Control_V1_FlowOptions {
  public var json: JSONValue {
    [
      "collector": collector.isEmpty ? .null : .string(collector), "active_timeout_ms": .count(activeTimeoutMillis),
      "idle_timeout_ms": .count(idleTimeoutMillis), "sample_every": .count(sampleEvery), "flows_max": .count(flowsMax),
    ]
  }
}

extension Sluice_Control_V1_WireOptions {
  public var json: JSONValue {
    [
      "name": .string(name), "a": .string(a), "b": .string(b), "path": .string(path.word),
      "wait": .string(worker.wait.word), "batch": .count(worker.batch), "ring_entries": .count(worker.ringEntries),
      "live_frames": .string(live.word), "flows": hasFlows ? flows.json : .null,
      "mirror": mirror.isEmpty ? .null : .string(mirror), "mirror_sample_every": .count(mirrorSampleEvery),
    ]
  }

  /// Of the API's JSON, as `json` writes it: members that are absent, null or of another type have their defaults.
  public init(json value: JSONValue) {
    self.init()
    func text(_ name: String) -> String { value[name]?.string ?? "" }
    func number(_ name: String, of object: JSONValue? = nil) -> UInt64 {
      UInt64(clamping: (object ?? value)[name]?.integer ?? 0)
    }
    (name, a, b, mirror) = (text("name"), text("a"), text("b"), text("mirror"))
    path = .init(word: text("path")) ?? .auto
    live = .init(word: text("live_frames")) ?? .auto
    worker = .with {
      $0.wait = .init(word: text("wait")) ?? .unspecified
      $0.batch = UInt32(clamping: number("batch"))
      $0.ringEntries = UInt32(clamping: number("ring_entries"))
    }
    mirrorSampleEvery = UInt32(clamping: number("mirror_sample_every"))
    if let object = value["flows"], object.object != nil {
      flows = .with {
        $0.collector = object["collector"]?.string ?? ""
        $0.activeTimeoutMillis = number("active_timeout_ms", of: object)
        $0.idleTimeoutMillis = number("idle_timeout_ms", of: object)
        $0.sampleEvery = UInt32(clamping: number("sample_every", of: object))
        $0.flowsMax = UInt32(clamping: number("flows_max", of: object))
      }
    }
  }
}

extension Sluice_Control_V1_WireSide {
  public var json: JSONValue {
    [
      "interface": .string(interface), "received": .object(received.mapValues(\.json)),
      "forwarded": .object(forwarded.mapValues { .count($0) }),
      "dropped": .object(dropped.mapValues { .count($0) }), "not_live": .object(notLive.mapValues { .count($0) }),
      "captured": .count(captured), "mirrored": .count(mirrored), "mirror_dropped": .count(mirrorDropped),
      "transmits_redirected": .bool(transmitsRedirected),
    ]
  }
}

extension Sluice_Control_V1_WireQueue {
  public var json: JSONValue {
    [
      "queue": .count(queue), "cpu": .count(cpu), "zero_copy": .bool(zeroCopy), "copy_reason": .string(copyReason),
      "live_frames": .bool(liveFrames), "live_reason": .string(liveReason), "frames_total": .count(framesTotal),
      "frames_pool": .count(framesPool), "batches": .array(batches.map { .count($0) }),
      "busy_seconds": .number(busySeconds), "idle_seconds": .number(idleSeconds),
      "asleep_seconds": .number(asleepSeconds),
    ]
  }
}

extension Sluice_Control_V1_FlowState {
  public var json: JSONValue {
    [
      "packets": .count(packets), "not_ip": .count(notIp), "malformed": .count(malformed), "active": .count(active),
      "capacity": .count(capacity), "closed": .count(closed), "evicted": .count(evicted), "lost": .count(lost),
      "exported_records": .count(exportedRecords), "unsent_records": .count(unsentRecords), "messages": .count(messages),
      "lost_packets": .count(lostPackets), "export_errors": .object(exportErrors.mapValues { .count($0) }),
    ]
  }
}

extension Sluice_Control_V1_Wire {
  public var json: JSONValue {
    var members = options.json.object ?? [:]
    members["current_path"] = .string(path == .unspecified ? "none" : path.word)
    members["reason"] = .string(reason)
    members["fallback_reason"] = .string(fallbackReason)
    members["sides"] = .array(sides.map(\.json))
    members["queues"] = .array(queues.map(\.json))
    members["flow_state"] = hasFlows ? flows.json : .null
    members["warnings"] = .strings(warnings)
    members["created_at"] = .time(unixNanoseconds: createdAtUnixNanos)
    return .object(members)
  }
}

extension Sluice_Control_V1_Flow {
  public var json: JSONValue {
    [
      "source": .string(source), "destination": .string(destination), "protocol": .string(`protocol`),
      "source_port": .count(sourcePort), "destination_port": .count(destinationPort), "vlan": .count(vlan),
      "interface": .string(interface), "packets": .count(packets), "bytes": .count(bytes),
      "packets_per_second": .number(packetsPerSecond), "bytes_per_second": .number(bytesPerSecond),
      "tcp_flags": .count(tcpFlags), "first_at": .time(unixNanoseconds: firstUnixNanos),
      "last_at": .time(unixNanoseconds: lastUnixNanos),
      "icmp_type": hasIcmpType ? .count(icmpType) : .null, "icmp_code": hasIcmpCode ? .count(icmpCode) : .null,
    ]
  }
}

extension Sluice_Control_V1_TopFlowsResponse {
  public var json: JSONValue {
    [
      "flows": .array(flows.map(\.json)), "flow_count": .count(flowCount),
      "taken_at": .time(unixNanoseconds: takenUnixNanos), "complete": .bool(complete),
    ]
  }
}
