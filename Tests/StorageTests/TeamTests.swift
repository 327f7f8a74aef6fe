import DatabaseSupport
import Foundation
import Identity
import Rules
import Testing

@testable import Storage

@Suite(.serialized) struct TeamTests {
  private let edit = RuleSetEdit(author: .system)

  @Test("A team has members with roles and owns resources, which shows in its members", arguments: TestBackend.allCases)
  func teams(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", []))
      let team = try await store.createTeam(name: "edge-ops", description: "'; --")
      #expect(
        await storageError { try await store.createTeam(name: "edge-ops", description: "") } == .conflict(field: "name"))
      #expect(try await store.teams(among: nil, Page()).items == [team])
      #expect(try await store.teams(among: [], Page()).items.isEmpty)
      #expect(try await store.teams(among: [team.id, UUID()], Page()).total == 1)
      struct No: Error {}
      await #expect(throws: No.self) {
        try await store.setMember(.user(user.email), ofTeam: "edge-ops", role: "Team Viewer") { _ in throw No() }
      }
      #expect(try await store.members(ofTeam: "edge-ops", Page()).total == 0)
      let member = try await store.setMember(.user(user.email), ofTeam: "edge-ops", role: "Team Viewer") { change in
        #expect(change.old == nil && change.new?.name == "Team Viewer")
      }
      #expect(try await store.members(ofTeam: "edge-ops", Page()).items == [member])
      for role in ["Owner", "Admin", "nothing", ""] {
        let error = await storageError {
          try await store.setMember(.user(user.email), ofTeam: "edge-ops", role: role, if: { _ in })
        }
        guard case .invalid("role", _) = error else {
          Issue.record("\(role): \(String(describing: error))")
          continue
        }
      }
      _ = try await store.createRole(
        NewCustomRole(name: "watcher", level: .team, scopes: [ScopeExpression(.countersRead)]))
      _ = try await store.setMember(.user(user.email), ofTeam: "edge-ops", role: "watcher") { change in
        #expect(change.old?.name == "Team Viewer" && change.new?.scopes == [.countersRead])
      }
      #expect(
        await storageError { try await store.deleteRole(named: "watcher", if: { _ in }) }
          == .inUse(kind: "role", by: "accounts, teams or resources"))
      let wrongLevel = UserChange(customRoles: ["watcher"])
      #expect(await storageError { try await store.updateUser(id: user.id, wrongLevel) } != nil, "not for an account")

      let edge = try await store.createRuleSet(RuleSet(name: "edge"), description: "", team: "edge-ops", edit)
      let other = try await store.createRuleSet(RuleSet(name: "other"), description: "", edit)
      let ref = ResourceRef(.ruleSet, edge.id)
      #expect(try await store.resource(.ruleSet, "edge") == NamedResource(ref: ref, name: "edge", team: "edge-ops"))
      #expect(try await store.resource(.ruleSet, edge.id.uuidString).ref == ref)
      #expect(try await store.resources(ofTeam: "edge-ops", Page()).items.map(\.ref) == [ref])
      let read = try await store.user(id: user.id)
      #expect(read.memberships.map(\.team) == ["edge-ops"] && read.memberships[0].resources == [ref])
      #expect(read.memberships[0].role.name == "watcher")
      #expect(try await store.ruleSets(search: nil, among: [edge.id], Page()).items.map(\.name) == ["edge"])
      #expect(try await store.ruleSets(search: nil, among: [], Page()).total == 0)
      _ = try await store.setOwner(of: ResourceRef(.ruleSet, other.id), team: "edge-ops")
      #expect(try await store.setOwner(of: ref, team: nil).team == nil)
      #expect(try await store.user(id: user.id).memberships[0].resources == [ResourceRef(.ruleSet, other.id)])
      try await store.deleteRuleSet(named: "other")
      #expect(try await store.resources(ofTeam: "edge-ops", Page()).total == 0, "what is gone belongs to nobody")
      try await store.removeMember(.user(user.email), ofTeam: "edge-ops", if: { _ in })
      #expect(
        await storageError { try await store.removeMember(.user(user.email), ofTeam: "edge-ops", if: { _ in }) }
          == .notFound(kind: "member", key: "a@x.org"))
      try await store.deleteTeam(named: "edge-ops")
      try await store.deleteRole(named: "watcher", if: { _ in })
    }
  }

  @Test("A resource is given to somebody by itself; an attachment is part of its node", arguments: TestBackend.allCases)
  func grants(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", []))
      let node = try await store.createNode(NewNode(name: "n1", address: "unix:/a"))
      let attachment = try await store.createAttachment(NewAttachment(node: "n1", interface: "eth0"))
      let named = try await store.resource(.attachment, attachment.id.uuidString)
      #expect(named.name == "n1/eth0" && named.parent == ResourceRef(.node, node.id))
      #expect(await storageError { try await store.resource(.attachment, "n1/eth0") } != nil)
      #expect(
        await storageError { try await store.resource(.node, "nothing") } == .notFound(kind: "node", key: "nothing"))
      let grant = try await store.setGrant(of: named.ref, to: .user(user.email), role: "Editor", if: { _ in })
      #expect(try await store.grants(of: named.ref, Page()).items == [grant])
      #expect(try await store.user(email: user.email)?.resourceGrants == [grant])
      _ = try await store.setGrant(of: named.ref, to: .user(user.email), role: "Viewer") {
        #expect($0.old?.name == "Editor")
      }
      #expect(try await store.grants(of: named.ref, Page()).items.map(\.role.name) == ["Viewer"])
      #expect(
        await storageError {
          try await store.setGrant(of: ResourceRef(.node, UUID()), to: .user(user.email), role: "Viewer", if: { _ in })
        } != nil)
      var filter = AttachmentFilter()
      filter.among = .init(attachments: [], nodes: [node.id])
      #expect(try await store.attachments(filter, Page()).items.map(\.id) == [attachment.id])
      filter.among = .init(attachments: [attachment.id], nodes: [])
      #expect(try await store.attachments(filter, Page()).total == 1)
      filter.among = .init(attachments: [], nodes: [])
      #expect(try await store.attachments(filter, Page()).total == 0)
      #expect(try await store.nodes(among: [node.id], Page()).items.map(\.name) == ["n1"])
      try await store.deleteAttachment(id: attachment.id)
      #expect(try await store.user(id: user.id).resourceGrants.isEmpty)
      _ = try await store.setGrant(of: ResourceRef(.node, node.id), to: .user(user.email), role: "Owner", if: { _ in })
      try await store.removeGrant(of: ResourceRef(.node, node.id), to: .user(user.email), if: { _ in })
      #expect(try await store.user(id: user.id).resourceGrants.isEmpty)
    }
  }

  @Test("An API client has roles as an account has; they go with it, and its name names nobody else's", arguments: TestBackend.allCases)
  func clients(_ backend: TestBackend) async throws {
    try await withStore(backend) { store in
      let user = try await store.createUser(.sample("a@x.org", []))
      let client = try await store.createAPIClient(
        NewAPIClient(name: "deploy", description: "'; --", scopes: [], createdBy: .system))
      _ = try await store.createTeam(name: "ops", description: "")
      let edge = try await store.createRuleSet(RuleSet(name: "edge"), description: "", team: "ops", edit)
      let node = try await store.createNode(NewNode(name: "n1", address: "unix:/a"))
      let ref = ResourceRef(.node, node.id)
      let holder = RoleHolder.client("deploy")
      let member = try await store.setMember(holder, ofTeam: "ops", role: "Team Viewer", if: { #expect($0.old == nil) })
      #expect(member.id == client.id && member.holder == holder && member.name == "'; --")
      #expect(try await store.member(holder, ofTeam: "ops") == member)
      let other = try await store.setMember(.user(user.email), ofTeam: "ops", role: "Team Admin", if: { _ in })
      #expect(try await store.members(ofTeam: "ops", Page()).items == [other, member])
      #expect(try await store.members(ofTeam: "ops", Page(limit: 1, offset: 1)).items == [member])
      let grant = try await store.setGrant(of: ref, to: holder, role: "Editor", if: { _ in })
      #expect(try await store.grants(of: ref, Page()).items == [grant])
      #expect(try await store.grant(of: ref, to: holder) == grant)
      let read = try await store.apiClient(id: client.id)
      #expect(read.memberships.map(\.resources) == [[ResourceRef(.ruleSet, edge.id)]] && read.resourceGrants == [grant])
      #expect(try await store.apiClients(Page()).items == [read])
      #expect(try await store.user(id: user.id).resourceGrants.isEmpty, "the accounts have nothing of it")
      for holder in [RoleHolder.client("nothing"), .client("a@x.org"), .client("'; --"), .user(try Email("deploy@x.org"))] {
        let kind = holder.kind == .user ? "user" : "API client"
        #expect(
          await storageError { try await store.setMember(holder, ofTeam: "ops", role: "Team Viewer", if: { _ in }) }
            == .notFound(kind: kind, key: holder.text))
      }
      _ = try await store.createRole(
        NewCustomRole(name: "watcher", level: .resource, scopes: [ScopeExpression(.countersRead)]))
      _ = try await store.setGrant(of: ref, to: holder, role: "watcher") { #expect($0.old?.name == "Editor") }
      #expect(
        await storageError { try await store.deleteRole(named: "watcher", if: { _ in }) }
          == .inUse(kind: "role", by: "accounts, teams or resources"))
      try await store.deleteNode(named: "n1")
      #expect(try await store.apiClient(id: client.id).resourceGrants.isEmpty)
      try await store.removeMember(holder, ofTeam: "ops", if: { #expect($0.old?.name == "Team Viewer") })
      #expect(
        await storageError { try await store.removeMember(holder, ofTeam: "ops", if: { _ in }) }
          == .notFound(kind: "member", key: "deploy"))
      _ = try await store.setMember(holder, ofTeam: "ops", role: "Team Maintainer", if: { _ in })
      let records = try await store.auditLog(AuditFilter(subjectKind: "team"), Page()).items
      #expect(records.first?["after"] == ["client": "deploy", "role": "Team Maintainer"])
      try await store.deleteAPIClient(id: client.id, if: { _ in })
      #expect(try await store.members(ofTeam: "ops", Page()).items == [other])
      _ = try await store.createAPIClient(NewAPIClient(name: "deploy", scopes: [], createdBy: .system))
      #expect(try await store.members(ofTeam: "ops", Page()).items == [other], "another of that name is another one")
    }
  }
}
