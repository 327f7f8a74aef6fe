import Crypto
import Foundation

/// A page that shows the OpenAPI document to people. Self-contained: it loads the document from this server and nothing
/// from anywhere else, and its policy lets nothing else run.
enum ReferencePage {
  static let contentType = "text/html; charset=utf-8"

  /// Only this style and this script, by digest.
  static let policy =
    "default-src 'none'; connect-src 'self'; style-src '\(digest(style))'; script-src '\(digest(script))'; "
    + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

  static let html = """
    <!doctype html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Sluice API</title>
    <style>\(style)</style>
    </head>
    <body>
    <header><h1>Sluice API</h1> <input id="filter" type="search" placeholder="filter" aria-label="filter"></header>
    <main id="content">Loading openapi.json…</main>
    <script>\(script)</script>
    </body>
    </html>

    """

  private static func digest(_ text: String) -> String {
    "sha256-" + Data(SHA256.hash(data: Array(text.utf8))).base64EncodedString()
  }

  private static let style = """
    body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1b1f24;background:#fff}
    header{position:sticky;top:0;background:#fff;border-bottom:1px solid #d5d9de;padding:8px 24px;display:flex;gap:24px}
    h1{font-size:20px;margin:0}h2{font-size:17px;margin:28px 0 8px;text-transform:capitalize}
    main{padding:0 24px 48px;max-width:1000px}input{font:inherit;padding:2px 8px;flex:1;max-width:320px}
    details{border:1px solid #d5d9de;border-radius:4px;margin:6px 0}summary{padding:6px 10px;cursor:pointer}
    details>div{padding:4px 16px 12px;border-top:1px solid #e8ebee}
    .method{display:inline-block;min-width:60px;font:600 13px monospace}.get{color:#0a5fb4}.post{color:#1a7f37}
    .put,.patch{color:#9a6700}.delete{color:#cf222e}code,pre{font:13px/1.45 monospace}
    pre{background:#f4f6f8;padding:8px;overflow:auto;margin:4px 0}.dim{color:#59636e}
    .gone summary code{text-decoration:line-through}
    table{border-collapse:collapse}td{padding:2px 14px 2px 0;vertical-align:top}h3{font-size:14px;margin:10px 0 2px}
    """

  /// Builds everything with textContent: nothing of the document is taken for markup.
  private static let script = """
    'use strict';
    const make=(tag,text,cls)=>{const e=document.createElement(tag);
      if(text!=null)e.textContent=text;if(cls)e.className=cls;return e};
    const methods=['get','post','put','patch','delete'];
    function shape(schema,all,seen){
      if(!schema)return null;
      if(schema.$ref){const n=schema.$ref.split('/').pop();return seen.includes(n)?n:shape(all[n],all,seen.concat(n))}
      if(schema.anyOf)return schema.anyOf.map(s=>s.type==='null'?null:shape(s,all,seen))[0];
      if(schema.const!==undefined)return schema.const;
      if(schema.enum)return schema.enum.join(' | ');
      if(schema.type==='array')return[shape(schema.items,all,seen)];
      if(schema.type==='object'){const o={};
        const must=schema.required||[],more=schema.additionalProperties;
        for(const[k,v]of Object.entries(schema.properties||{}))o[k+(must.includes(k)?'':'?')]=shape(v,all,seen);
        if(more&&typeof more==='object')o['…']=shape(more,all,seen);
        return o}
      return(schema.format||schema.type||'any')+(schema.pattern?' '+schema.pattern:'')
    }
    function code(value){return make('pre',JSON.stringify(value,null,2))}
    function table(rows){const t=make('table');for(const r of rows){const tr=make('tr');
      r.forEach((c,i)=>{const td=make('td');td.append(i?c:make('code',c));tr.append(td)});t.append(tr)}return t}
    function operation(path,method,op,all){
      const d=make('details',null,op.deprecated?'gone':''),s=make('summary'),b=make('div');
      s.append(make('span',method.toUpperCase(),'method '+method),make('code',path),make('span','  '+(op.summary||''),'dim'));
      if(op['x-required-scope'])b.append(make('p','Needs the scope '+op['x-required-scope']));
      else if(!(op.security||[]).length)b.append(make('p','Open to everybody.'));
      if(op.parameters)b.append(make('h3','Parameters'),table(op.parameters.map(p=>[p.name,
        p.in+(p.required?', required':''),String(JSON.stringify(shape(p.schema,all,[])))+' '+(p.description||'')])));
      const body=op.requestBody&&op.requestBody.content['application/json'];
      if(body){b.append(make('h3','Body'+(op.requestBody.required?'':' (optional)')));
        b.append(code(body.example!==undefined?body.example:shape(body.schema,all,[])))}
      for(const[status,r]of Object.entries(op.responses)){
        if(status<400){b.append(make('h3','Answer '+status));
          for(const[type,c]of Object.entries(r.content||{})){
            const v=c.schema&&c.schema.properties&&c.schema.properties.data;
            b.append(v?code(shape(v,all,[])):make('code',type))}}}
      const failures=Object.entries(op.responses).filter(([s])=>s>=400);
      b.append(make('h3','Failures'),table(failures.map(([s,r])=>[s,r.description])));
      d.append(s,b);return d}
    async function start(){
      const main=document.getElementById('content');
      const doc=await(await fetch('openapi.json')).json();
      const all=doc.components.schemas,groups=new Map();
      for(const[path,item]of Object.entries(doc.paths))for(const m of methods)if(item[m]){
        const tag=(item[m].tags||['other'])[0];if(!groups.has(tag))groups.set(tag,[]);
        groups.get(tag).push([path,m,item[m]])}
      main.textContent='';main.append(make('p',doc.info.description+' Version '+doc.info.version+'.','dim'));
      const rows=[];
      for(const tag of[...groups.keys()].sort()){const h=make('h2',tag);main.append(h);
        for(const[p,m,o]of groups.get(tag)){const e=operation(p,m,o,all);
          rows.push([e,[p,m,o.summary,o.operationId].join(' ').toLowerCase()]);
          main.append(e)}}
      document.getElementById('filter').addEventListener('input',e=>{const w=e.target.value.toLowerCase();
        for(const[el,text]of rows)el.hidden=!text.includes(w)})}
    start().catch(e=>{document.getElementById('content').textContent='openapi.json cannot be shown: '+e});
    """
}
