import ControlProtocol
import GRPCCore

/// Sets of what is applied.
extension FakeDaemon {
  func changeSetInParts(
    request: RPCAsyncSequence<Sluice_Control_V1_ChangeSetRequest, any Error>, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    var whole = Sluice_Control_V1_ChangeSetRequest()
    var counts: [Int] = []
    for try await part in request {
      let (inserted, removed) = (whole.inserted + part.inserted, whole.removed + part.removed)
      if counts.isEmpty { whole = part }
      (whole.inserted, whole.removed) = (inserted, removed)
      counts.append(part.inserted.count + part.removed.count)
    }
    change { [counts] in $0.calls.append("parts \(counts)") }
    return try await changeSet(request: whole, context: context)
  }

  /// A daemon from before such changes unless ``State/changesRules`` says otherwise.
  func changeRule(
    request: Sluice_Control_V1_ChangeRuleRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ApplyResponse {
    try change { state in
      guard state.changesRules else { throw RPCError(code: .unimplemented, message: "no such method") }
      for name in request.interfaces {
        guard state.attachments[name]?.revision == request.fromRevision else {
          throw RPCError(code: .failedPrecondition, message: "\(name) runs another revision: apply the newest")
        }
        state.attachments[name]?.revision = request.toRevision
      }
      let comes = request.hasInserted ? request.inserted.name : ""
      state.calls.append("rule@\(request.toRevision) -\(request.removed) +\(comes) <\(request.before)")
    }
    return .with {
      $0.results = request.interfaces.map { name in .with { ($0.interface, $0.inPlace) = (name, true) } }
    }
  }

  func changeSet(
    request: Sluice_Control_V1_ChangeSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    try change { state in
      for name in request.interfaces {
        if let failure = state.failures[name] { throw failure }
        guard state.attachments[name]?.revision == request.fromRevision else {
          throw RPCError(code: .failedPrecondition, message: "\(name) runs another revision: apply the newest")
        }
        state.attachments[name]?.revision = request.toRevision
      }
      state.calls.append("change \(request.set)@\(request.toRevision) +\(request.inserted) -\(request.removed)")
    }
    return .with {
      $0.results = request.interfaces.map { name in
        .with {
          $0.interface = name
          $0.changed = UInt32(request.inserted.count + request.removed.count)
          $0.inPlace = true
        }
      }
    }
  }

  /// Each element has counted as many packets as its text has characters, of 100 bytes.
  func getSetCounters(
    request: Sluice_Control_V1_GetSetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetSetCountersResponse {
    let interfaces = state.attachments.filter { $0.value.ruleSet == request.ruleSet }.keys.sorted()
    guard !interfaces.isEmpty else { throw RPCError(code: .notFound, message: "\(request.ruleSet) is applied nowhere") }
    let known = ["192.0.2.1", "192.0.2.20", "198.51.100.0/24"].prefix(request.elements.isEmpty ? Int(request.top) : 3)
    return .with {
      $0.interfaces = interfaces
      $0.counting = 3
      $0.packets = 36
      $0.bytes = 3600
      $0.elements = (request.elements.isEmpty ? known.reversed() : request.elements.filter(known.contains)).map { text in
        .with { ($0.element, $0.packets, $0.bytes) = (text, UInt64(text.count), UInt64(text.count * 100)) }
      }
    }
  }
}
