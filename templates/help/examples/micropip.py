import micropip

await micropip.install("<package_name>", index_urls="{{ at.project }}/simple/{package_name}/")
