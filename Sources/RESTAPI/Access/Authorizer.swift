import Foundation
import Identity
import Storage

/// What a request is about, so that a grant for a part of what there is can be enough. Names are those of the path's
/// parameters and the body's members.
public enum RouteSubject: Hashable, Sendable {
  /// No part: the scope must be held everywhere.
  case everything
  /// Nothing in particular: whoever holds the scope for something may. A list shows what he may see, and nothing else.
  case anything
  case ruleSet(String)
  /// One of its sets: whoever holds the scope for the rule set, or for the set, may.
  case set(ruleSet: String, set: String)
  /// Of a rule set, some sets: whoever holds the scope for the rule set, or for a set there, may.
  case setsOf(String)
  case node(String)
  /// Of a node, some interfaces: whoever holds the scope for the node, or for an attachment there, may.
  case interfacesOfNode(String)
  case attachment(String)
  case capture(String)
  case team(String)
  /// The resource that two parameters name, by kind and by name or id.
  case resource(kind: String, name: String)
  /// The team that a member of the body names; nil there: everything.
  case teamInBody(String)
  /// The node, or the attachment, that `node` and `interface` of the body name.
  case interfaceInBody

  /// Whether it is known once the body is read.
  var isInBody: Bool {
    switch self {
    case .teamInBody, .interfaceInBody: true
    default: false
    }
  }

  /// In the OpenAPI document: the noun of what a narrower role may be for.
  var word: String? {
    switch self {
    case .everything: nil
    case .anything: "any"
    case .ruleSet: ResourceKind.ruleSet.rawValue
    case .set, .setsOf: ResourceKind.set.rawValue
    case .node, .interfacesOfNode, .interfaceInBody: ResourceKind.node.rawValue
    case .attachment: ResourceKind.attachment.rawValue
    case .capture: "capture"
    case .team, .teamInBody: "team"
    case .resource: "resource"
    }
  }
}

/// Decides about every request to a route with a scope, once it is known what it is about. The one place for it.
struct Authorizer: Sendable {
  let store: any Store

  /// Before anything of the request is read: whether the caller holds the scope for anything that the route may be about.
  static func checkScope(_ scope: Scope, _ subject: RouteSubject, _ principal: Principal) throws {
    let permissions = principal.permissions
    let isEnough = subject == .everything ? permissions.grants(scope) : permissions.grantsSomewhere(scope)
    guard isEnough else { throw missing(scope) }
  }

  /// What the request is about, once the caller may do it. Empty where it is about everything or nobody asks.
  ///
  /// - Throws: ``ErrorCode/missingScope``; `not_found` for what the caller cannot see, as for what isn't there.
  func check(_ scope: Scope, _ subject: RouteSubject, _ call: Call) async throws -> [Permissions.Reach] {
    let permissions = try call.caller().permissions
    guard permissions.hasNarrowGrants else { return [] }
    let things: [Permissions.Reach]
    switch subject {
    case .everything, .anything: return []
    case .teamInBody(let member):
      guard let name = call.body.present(member)?.string else {
        guard permissions.grants(scope) else {
          throw APIError(
            .missingScope, "this needs the scope \(scope.rawValue) everywhere, or in the team that \(member) names",
            details: ["required": .string(scope.rawValue)])
        }
        return []
      }
      things = [.team(try await store.team(named: name).id)]
    default: things = try await self.things(subject, call)
    }
    try Self.require(scope, on: things, of: subject, call, permissions)
    return things
  }

  /// For what a request is about besides: the rule set that an attachment is to have, the attachments of an apply.
  func require(_ scope: Scope, _ kind: ResourceKind, _ name: String, _ call: Call) async throws {
    let permissions = try call.caller().permissions
    guard !permissions.grants(scope) else { return }
    let things = try await reaches(of: try await store.resource(kind, name))
    guard permissions.grants(scope, on: things) else {
      throw permissions.sees(things) ? Self.missing(scope) : StorageError.notFound(kind: kind.noun, key: name)
    }
  }

  /// For what it is about in the first place, once more.
  func require(_ scope: Scope, again call: Call) throws {
    let permissions = try call.caller().permissions
    guard permissions.grants(scope) || permissions.grants(scope, on: call.things) else { throw Self.missing(scope) }
  }

  private static func require(
    _ scope: Scope, on things: [Permissions.Reach], of subject: RouteSubject, _ call: Call, _ permissions: Permissions
  ) throws {
    if permissions.grants(scope, on: things) { return }
    guard permissions.sees(things) else {
      throw StorageError.notFound(kind: subject.noun, key: (try? subject.name(in: call)) ?? "")
    }
    throw missing(scope)
  }

  private func things(_ subject: RouteSubject, _ call: Call) async throws -> [Permissions.Reach] {
    let name = try subject.name(in: call)
    switch subject {
    case .everything, .anything, .teamInBody: return []
    case .ruleSet: return try await reaches(of: store.resource(.ruleSet, name))
    case .set(let ruleSet, let set):
      let parent = try await store.resource(.ruleSet, try call.parameter(ruleSet))
      let ref = ResourceRef(set: try call.parameter(set), ofRuleSet: parent.ref.id)
      return [.resource(ref)] + (try await reaches(of: parent))
    case .setsOf:
      let ruleSet = try await store.ruleSet(named: name)
      let sets = ruleSet.content.sets.map { ResourceRef(set: $0.name, ofRuleSet: ruleSet.id) }
      return ([ResourceRef(.ruleSet, ruleSet.id)] + sets).map { .resource($0) }
    case .node: return try await reaches(of: store.resource(.node, name))
    case .attachment: return try await reaches(of: store.resource(.attachment, name))
    case .interfacesOfNode: return try await interfaces(ofNode: name, named: nil)
    case .interfaceInBody: return try await interfaces(ofNode: name, named: try call.body.text("interface"))
    case .capture:
      guard let id = UUID(uuidString: name) else { throw StorageError.notFound(kind: "capture", key: name) }
      let capture = try await store.capture(id: id)
      return try await interfaces(ofNode: capture.node, named: capture.interface)
    case .team: return [.team(try await store.team(named: name).id)]
    case .resource(let kind, _):
      return try await reaches(of: store.resource(try call.resourceKind(kind), name))
    }
  }

  /// A resource, and what it is part of.
  private func reaches(of resource: NamedResource) async throws -> [Permissions.Reach] {
    [.resource(resource.ref)] + (resource.parent.map { [.resource($0)] } ?? [])
  }

  /// The node, and its attachments at the interface.
  private func interfaces(ofNode name: String, named interface: String?) async throws -> [Permissions.Reach] {
    let node = try await store.node(named: name)
    let filter = AttachmentFilter(node: name, interface: interface)
    let attachments = try await everything { try await store.attachments(filter, $0) }
    return [.resource(ResourceRef(.node, node.id))] + attachments.map { .resource(ResourceRef(.attachment, $0.id)) }
  }

  private static func missing(_ scope: Scope) -> APIError {
    APIError(.missingScope, "this needs the scope \(scope.rawValue)", details: ["required": .string(scope.rawValue)])
  }
}

extension RouteSubject {
  fileprivate var noun: String { word?.replacing("_", with: " ") ?? "" }

  /// What the request calls it.
  fileprivate func name(in call: Call) throws -> String {
    switch self {
    case .everything, .anything: ""
    case .ruleSet(let name), .setsOf(let name), .node(let name), .interfacesOfNode(let name), .attachment(let name), .capture(let name),
      .team(let name), .resource(_, let name):
      try call.parameter(name)
    case .set(let ruleSet, let set): "\(try call.parameter(ruleSet)):\(try call.parameter(set))"
    case .teamInBody(let member): try call.body.text(member)
    case .interfaceInBody: try call.body.text("node")
    }
  }
}

extension Call {
  /// The kind of a resource that a parameter names, as paths write it: `rule-set`.
  func resourceKind(_ parameter: String) throws -> ResourceKind {
    let text = try self.parameter(parameter)
    guard let kind = ResourceKind(rawValue: text.replacing("-", with: "_")), !text.contains("_") else {
      throw APIError.notFound("kind of resource", text)
    }
    return kind
  }

  /// The things of a kind that a list may show; nil: all there are.
  func visible(_ kind: ResourceKind, with scope: Scope) throws -> Set<UUID>? {
    try caller().permissions.things(kind, with: scope)
  }
}
