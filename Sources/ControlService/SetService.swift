import Control
import ControlProtocol
import GRPCCore
import Rules

extension ControlServiceHandler {
  func changeSet(
    request: Sluice_Control_V1_ChangeSetRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    let change = try SetChange(request)
    let reports = try await answering { try await controller.change(change, on: request.interfaces) }
    return .with { $0.results = reports.map(Sluice_Control_V1_ChangeSetResponse.Result.init) }
  }
}

extension ControlServiceHandler {
  func changeSetInParts(
    request: RPCAsyncSequence<Sluice_Control_V1_ChangeSetRequest, any Error>, context: ServerContext
  ) async throws -> Sluice_Control_V1_ChangeSetResponse {
    var whole: (change: SetChange, interfaces: [String])?
    for try await part in request {
      let change = try SetChange(part)
      guard whole?.change.add(change) != nil else {
        whole = (change, part.interfaces)
        continue
      }
      guard let sum = whole?.change, sum.inserted.count <= Limits.setElementsMax, sum.removed.count <= Limits.setElementsMax
      else {
        throw FieldError(path: "inserted", reason: "or removed has more than \(Limits.setElementsMax) elements (set_elements_max)")
      }
    }
    guard let whole else { throw FieldError(path: "set", reason: "is missing: no part came") }
    let reports = try await answering { try await controller.change(whole.change, on: whole.interfaces) }
    return .with { $0.results = reports.map(Sluice_Control_V1_ChangeSetResponse.Result.init) }
  }
}

extension ControlServiceHandler {
  func getSetCounters(
    request: Sluice_Control_V1_GetSetCountersRequest, context: ServerContext
  ) async throws -> Sluice_Control_V1_GetSetCountersResponse {
    guard request.elements.count <= Controller.setCountersMax, request.elements.isEmpty || request.top == 0 else {
      throw FieldError(path: "elements", reason: "are at most \(Controller.setCountersMax), and none beside top")
    }
    let elements = try members(request.elements, "elements").map(\.element)
    let report = try await answering {
      elements.isEmpty
        ? try await controller.topElements(
          Int(request.top), in: request.set, ofRuleSet: request.ruleSet, on: request.interfaces)
        : try await controller.counters(
          of: elements, in: request.set, ofRuleSet: request.ruleSet, on: request.interfaces)
    }
    return .with {
      $0.interfaces = report.interfaces
      ($0.packets, $0.bytes) = (report.total.packets, report.total.bytes)
      $0.counting = UInt32(clamping: report.countingElementCount)
      $0.elements = report.elements.map { element in
        .with { ($0.element, $0.packets, $0.bytes) = (element.element.description, element.count.packets, element.count.bytes) }
      }
    }
  }
}

extension SetChange {
  init(_ request: Sluice_Control_V1_ChangeSetRequest) throws {
    guard request.inserted.count + request.removed.count <= SetChange.callElementCountMax else {
      throw FieldError(
        path: "inserted", reason: "and removed have more than \(SetChange.callElementCountMax) elements (set_change_elements_max)")
    }
    self.init(
      ruleSet: request.ruleSet, set: request.set, inserted: try members(request.inserted, "inserted"),
      removed: try members(request.removed, "removed").map(\.element), fromRevision: request.fromRevision,
      toRevision: request.toRevision)
  }
}

/// Prefixes or ports; whether they fit the set is the controller's to tell.
private func members(_ texts: [String], _ field: String) throws(FieldError) -> [SetMember] {
  var result: [SetMember] = []
  for (index, text) in texts.enumerated() {
    do {
      result.append(try SetMember(parsing: text))
    } catch {
      throw FieldError(path: "\(field)[\(index)]", reason: "\(error)")
    }
  }
  return result
}

extension Sluice_Control_V1_ChangeSetResponse.Result {
  fileprivate init(_ report: SetChangeReport) {
    self.init()
    interface = report.interface
    generation = report.generation
    changed = UInt32(clamping: report.changedCount)
    elements = UInt32(clamping: report.elementCount)
    inPlace = report.isInPlace
    confirmByUnixNanos = report.confirmByNanoseconds ?? 0
    seconds = report.seconds
  }
}
